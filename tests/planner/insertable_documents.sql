-- Expressions over a document and a list that a view may compute on insert: none may fail on any row that landed.
doc ->> '$.a'
doc -> '$.a'
json_extract_string(doc, '$.a.b')
doc ->> '$.a[0]'
json_array_length(doc)
len(tags)
list_contains(tags, 'b')
list_position(tags, 'b')
list_sort(tags)
list_reverse_sort(tags)
list_filter(tags, lambda t: t > 'a')
list_transform(tags, lambda t: t || 'x')
tags[1]
tags[-1]
tags
list_sum(list_transform(tags, lambda t: length(t)))
list_max(list_transform(tags, lambda t: length(t)))
array_to_string(tags, ',')
coalesce(tags[1], 'none')
nullif(len(tags), 0)
who.a
who.b
who
{'t': id, 'a': who.a}
list_append(tags, 'z')
list_prepend('z', tags)
list_has_any(tags, ['a', 'b'])
list_has_all(tags, ['a'])
