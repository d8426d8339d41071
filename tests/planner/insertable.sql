-- Expressions that a view may compute on insert: none may fail on any row that landed.
coalesce(n, 0)
abs(x)
-x
x + 1
x / 3
x / 0
n / big
cast(n as bigint) + 1
cast(n as bigint) * n
length(k) + length("order")
n * cast(price as decimal(20, 2))
n + price
price - 1
big % 7
big // -3
cast(n as bigint) // nullif(g, 0)
n // 2
n % 3
price / 2
cast(price as decimal(20, 2)) * price
price + price
round(x)
round(price, 1)
round(x, 2)
floor(x)
ceil(price)
sqrt(abs(x))
ln(abs(x) + 1)
case when n > 0 then k else 'none' end
nullif(k, 'a')
greatest(n, 0)
least(x, 1.5)
cast(n as bigint)
cast(n as double)
cast(flag as integer)
cast(big as varchar)
cast(price as varchar)
cast(seen_at as varchar)
cast(day as varchar)
cast(seen_at as date)
cast(day as timestamp)
try_cast(k as integer)
try_cast(k as bigint)
try_cast(k as double)
try_cast(k as decimal(10, 2))
try_cast(k as boolean)
try_cast(big as integer)
try_cast(x as integer)
try_cast(x as decimal(10, 2))
try_cast(big as decimal(10, 2))
date_trunc('second', seen_at)
date_trunc('minute', seen_at)
date_trunc('hour', seen_at)
date_trunc('day', seen_at)
date_trunc('week', seen_at)
date_trunc('month', seen_at)
date_trunc('quarter', seen_at)
date_trunc('year', seen_at)
date_trunc('month', day)
time_bucket(interval 20 minute, seen_at)
extract(year from seen_at)
extract(week from day)
extract(isodow from day)
extract(epoch from seen_at)
epoch_ms(seen_at)
date_diff('minute', seen_at, timestamp '2018-01-01')
date_diff('month', day, date '2018-01-01')
day - date '2018-01-01'
strftime(seen_at, '%Y-%m-%d %H:%M')
last_day(day)
length(k)
lower(k)
upper(k)
trim(k)
substr(k, 2, 3)
left(k, 2)
right(k, 1)
replace(k, 'a', 'b')
split_part(k, ',', 2)
k || '-' || n
concat(k, n)
concat_ws(',', k, "order")
md5(k)
sha256(k)
starts_with(k, 'a')
contains(k, 'b')
contains(k, upper(k))
strpos(k, 'b')
k like 'a%'
k ilike '%B'
regexp_matches(k, '^[a-z]+$')
regexp_replace(k, '[ab]', 'x', 'g')
regexp_extract(k, '([a-z])(.*)', 2)
k in ('a', 'b')
n between 0 and 10
seen_at > timestamp '2018-05-01'
n is null
seen_at + interval 1 day
seen_at - interval 20 minute
seen_at + interval 1 month
day + 1
day - interval 1 month
try_cast(k as uuid)
try_cast(k as hugeint)
try_cast(k as ubigint)
try_cast(price as integer)
ends_with(k, 'a')
month(seen_at)
quarter(day)
dayofmonth(day)
extract(isoyear from day)
yearweek(day)
hour(seen_at)
minute(seen_at)
second(seen_at)
monthname(day)
string_split(k, 'a')[1]
list_sum([n, g])
log10(abs(x) + 1)
log2(abs(x) + 1)
exp(-abs(x))
isinf(x)
xor(n, g)
n & g
n | g
~n
repeat(k, 3)
seen_at + interval 3 day
day + g
day + interval 1 year
day - interval 3 quarter
seen_at + interval 2 hour
seen_at + interval 90 second
seen_at - interval 5 week
seen_at - interval 7 millisecond
seen_at - interval 7 microsecond
seen_at + interval 1 month
pi() * x
power(x, 2)
sin(x)
cbrt(x)
not flag
k is distinct from "order"
length(k) > 2 and n > 0 or flag
cos(x)
tan(x)
asin(x / 1e300)
acos(x / 1e300)
atan(x)
atan2(x, n)
degrees(x)
radians(x)
