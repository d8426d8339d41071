"""What may go wrong between a sender and an answer, done for real: every row that was acknowledged is there, once."""
