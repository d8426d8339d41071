"""One file of routes per noun; each exports ``routes``."""
