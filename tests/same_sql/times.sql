date '2024-01-31' ⟨+ 1¦- 1¦+ 30¦- date '2024-01-01'¦+ interval '1 month'¦- interval '1 month'¦+ interval '1 day'¦+ time '10:00'¦+ interval '36 hours'⟩
timestamp '2024-01-31 10:11:12' ⟨+ interval '1 month'¦- interval '1 year'¦+ interval '1 day 2 hours'¦- timestamp '2023-12-25 20:00:00'¦- date '2024-01-01'¦+ interval '0.5 seconds'¦- interval '90 minutes'⟩
timestamptz '2024-03-31 00:30:00+00' ⟨+ interval '1 day'¦+ interval '24 hours'¦- interval '1 month'¦- timestamptz '2024-03-30 00:30:00+00'⟩
interval '1 day' ⟨* 2¦/ 2¦* 1.5¦+ interval '2 hours'¦- interval '25 hours'⟩
⟨interval '1 month'¦interval '30 days'⟩ ⟨=¦<¦>⟩ ⟨interval '30 days'¦interval '31 days'⟩
- interval '1 day 2 hours'
time '10:00' ⟨+ interval '90 minutes'¦- interval '11 hours'¦- time '08:30'¦+ interval '14 hours'⟩
extract(⟨year¦month¦day¦hour¦minute¦second¦quarter¦week¦dow¦isodow¦doy¦isoyear¦epoch¦century¦decade¦millennium¦microseconds¦milliseconds¦julian⟩ from timestamp '2024-02-29 10:11:12.345')
extract(⟨year¦month¦day¦dow¦doy¦week¦isoyear¦epoch¦quarter⟩ from ⟨date '2021-01-03'¦date '2000-12-31'¦date '1969-12-31'⟩)
extract(⟨hour¦minute¦second¦epoch⟩ from time '10:11:12.5')
extract(⟨day¦hour¦epoch¦month¦year¦second¦minute⟩ from interval '1 year 2 months 3 days 04:05:06.5')
extract(⟨hour¦timezone¦epoch¦day⟩ from timestamptz '2024-02-29 23:11:12+02')
date_part(⟨'year'¦'month'¦'hour'¦'second'¦'epoch'¦'dow'¦'doy'¦'nonsense'⟩, timestamp '2024-02-29 10:11:12.5')
date_part(⟨'year'¦'hour'⟩, date '2024-02-29')
date_trunc(⟨'year'¦'quarter'¦'month'¦'week'¦'day'¦'hour'¦'minute'¦'second'¦'decade'¦'century'¦'millennium'¦'milliseconds'¦'microseconds'¦'nonsense'⟩, timestamp '2024-02-29 10:11:12.345678')
date_trunc(⟨'month'¦'day'¦'hour'⟩, timestamptz '2024-02-29 23:30:00+02')
date_trunc(⟨'month'¦'day'¦'hour'⟩, date '2024-02-29') -- differs: date_trunc of dates
date_trunc('day', timestamptz '2024-02-29 23:30:00+00', ⟨'UTC'¦'Asia/Tokyo'¦'America/New_York'⟩)
date_bin('15 minutes', timestamp '2024-02-29 10:11:12', timestamp '2001-01-01')
date_bin(⟨'1 hour'¦'1 day'⟩, timestamp '2024-02-29 10:11:12', timestamp '2001-01-01 00:02:30')
age(timestamp '2001-04-10', timestamp '1957-06-13')
age(⟨timestamp '2024-03-31'¦date '2024-02-29'⟩, ⟨timestamp '2024-02-29'¦date '2023-03-31'⟩)
make_date(⟨2013, 7, 15¦2024, 2, 30¦1, 1, 1⟩)
make_date(-44, 3, 15) -- differs: years before Christ
make_time(8, 15, 23.5)
make_timestamp(2013, 7, 15, 8, 15, 23.5)
make_timestamptz(2013, 7, 15, 8, 15, 23.5, 'UTC')
make_interval(⟨days => 10¦years => 1, months => 2¦hours => 36⟩)
to_date(⟨'05 Dec 2000', 'DD Mon YYYY'¦'20240229', 'YYYYMMDD'¦'2024-060', 'YYYY-DDD'¦'29/02/24', 'DD/MM/YY'¦'2023-02-29', 'YYYY-MM-DD'¦'December 5, 2000', 'FMMonth DD, YYYY'⟩)
to_timestamp(⟨'05 Dec 2000', 'DD Mon YYYY'¦'2024-02-29 10:11:12', 'YYYY-MM-DD HH24:MI:SS'¦'2024-02-29 10:11:12 PM', 'YYYY-MM-DD HH12:MI:SS AM'⟩)
to_timestamp(⟨0¦1284352323¦1284352323.5¦-1⟩)
to_char(⟨timestamp '2024-02-29 13:14:15.678'¦date '2024-02-29'⟩, ⟨'YYYY-MM-DD'¦'HH24:MI:SS'¦'HH12:MI:SS AM'¦'Day, DD Mon YYYY'¦'FMDay, FMDD FMMonth'¦'Q'¦'IYYY-IW'¦'DDD'¦'D'¦'J'¦'"Year:" YYYY'¦'MS US'¦'YYYY-MM-DD"T"HH24:MI:SS'¦'Dth'⟩)
to_char(timestamp '2024-02-29 13:14:15', 'TZ')
to_char(date '2024-02-29', 'TZ') -- differs: dates have no zone
to_char(interval '15h 2m 12s', ⟨'HH24:MI:SS'¦'DD HH24'⟩)
to_char(timestamptz '2024-02-29 13:14:15+00', ⟨'YYYY-MM-DD HH24:MI:SSOF'¦'HH24 TZ'⟩)
timestamp '2024-02-29 10:11:12' at time zone ⟨'UTC'¦'Europe/Berlin'¦'America/New_York'¦'+02'¦'Mars/City'⟩
timestamptz '2024-02-29 10:11:12+00' at time zone ⟨'UTC'¦'Europe/Berlin'¦'America/New_York'¦'Asia/Kolkata'⟩
timezone('Europe/Berlin', timestamptz '2024-07-01 10:00:00+00')
timestamp '2024-03-31 02:30:00' at time zone 'Europe/Berlin'
⟨date '2024-01-01'¦timestamp '2024-01-01 00:00:00'⟩ ⟨=¦<¦>=⟩ ⟨date '2024-01-01'¦timestamp '2024-01-01 00:00:01'⟩
timestamptz '2024-01-01 00:00:00+02' ⟨=¦<¦>⟩ ⟨timestamptz '2023-12-31 22:00:00+00'¦timestamp '2024-01-01 00:00:00'⟩
(date '2024-01-01', date '2024-02-01') overlaps (date '2024-01-15', date '2024-03-01')
justify_days(interval '35 days')
justify_hours(interval '27 hours')
justify_interval(interval '1 mon -1 hour')
interval ⟨'1' day¦'2' hour¦'3' month¦'1-2' year to month¦'1 02:03:04' day to second⟩
⟨interval '1 day'¦interval '1 month 1 day'¦interval '-3 hours'¦interval '1 year'⟩::text
date_trunc('hour', interval '2 days 3 hours 40 minutes')
now() - now()
current_date - current_date
(current_timestamp - now()) = interval '0'
pg_typeof(⟨now()¦current_date¦current_timestamp¦localtimestamp¦1¦1.5¦'x'::text¦true¦interval '1 day'⟩)
greatest(date '2024-01-01', date '2024-02-01')
timestamp '2024-01-01' between date '2023-12-31' and date '2024-01-02'
timestamp '1900-01-01 00:00:00' ⟨- timestamp '1899-12-31 23:59:59'¦+ interval '200 years'⟩
timestamp '0001-01-01 00:00:00' + interval '1 second'
timestamp '9999-12-31 23:59:59' - interval '1 second'
date '9999-12-31' ⟨- 1¦- date '0001-01-01'⟩
to_date(⟨'2024-2-9'¦'2024/02/29'¦'20240229'¦' 2024-02-29'¦'2024-02-29 junk'¦'24-02-29'¦'2024'¦'2024-13-01'¦'x'⟩, ⟨'YYYY-MM-DD'¦'YYYYMMDD'⟩)
to_date(⟨'29 February 2024', 'DD Month YYYY'¦'Thu, 29 Feb 2024', 'Dy, DD Mon YYYY'¦'29-feb-24', 'DD-MON-YY'¦'29-FEB-70', 'DD-MON-YY'¦'2,024-02-29', 'Y,YYY-MM-DD'¦'2460370', 'J'¦'44-03-15 BC', 'YYYY-MM-DD BC'¦'XII 2024', 'RM YYYY'¦'1st 02 2024', 'DDth MM YYYY'⟩)
to_timestamp(⟨'2024-02-29 23:59:59.5', 'YYYY-MM-DD HH24:MI:SS.MS'¦'2024-02-29 23:59:59.123456', 'YYYY-MM-DD HH24:MI:SS.US'¦'2024-02-29T10:11', 'YYYY-MM-DD"T"HH24:MI'¦'20240229101112', 'YYYYMMDDHH24MISS'¦'2024-02-29 13:00 PM', 'YYYY-MM-DD HH12:MI PM'¦'12:05 am', 'HH12:MI am'¦'2024-02-29 24:00', 'YYYY-MM-DD HH24:MI'¦'36000 2024-01-01', 'SSSSS YYYY-MM-DD'⟩)
age(timestamp ⟨'2024-03-01 10:00'¦'2023-12-31'¦'2024-02-29 23:59:59.5'⟩, timestamp ⟨'2024-01-31 12:00'¦'2024-02-29'¦'1970-01-01'⟩)
age(date '2024-03-31', date ⟨'2024-02-29'¦'2025-05-30'⟩)
interval ⟨'1 day'¦'1 month 3 days 2 hours'¦'-36 hours'⟩ ⟨*¦/⟩ ⟨2¦1.5¦0.3¦-3⟩
⟨2¦0.5⟩ * interval '1 month 1 day'
interval ⟨'1 day 02:03:04'¦'-1 day +02:03'¦'36:00'¦'P1Y2M3DT4H5M6.5S'¦'PT36H'¦'1 02:03:04.5'¦'1:2:3:4'⟩
⟨'2 mons 10:00'¦'P2W'¦'x'⟩::interval
justify_⟨days¦hours¦interval⟩(interval ⟨'35 days 30 hours'¦'-1 month 5 days'¦'1 month -1 day -25 hours'⟩)
make_interval(⟨days => 10¦hours => 36, mins => 5¦weeks => 2¦years => 1, months => -2¦secs => 1.5⟩)
make_timestamp(2024, 2, ⟨29¦30⟩, ⟨8¦24⟩, 15, ⟨23.5¦5¦0⟩)
date_trunc(⟨'milliseconds'¦'hours'¦'weeks'⟩, timestamp '2024-02-29 13:14:15.123456')
date_trunc('day', timestamptz '2024-02-29 23:30:00+00', ⟨'UTC'¦'Asia/Tokyo'¦'America/New_York'⟩)
isfinite(⟨date '2024-02-29'¦null::date⟩)
to_timestamp('2024-01-01 12:30', 'YYYY-MM-DD HH12:MI')
to_date(⟨'12345-01-01', 'YYYY-MM-DD'¦'124/4', 'YY/Y'¦'Feb12', 'MonMM'¦'100', 'DDD'⟩)
make_timestamp(2024, 2, 3, 0, 0, ⟨60¦1.2345678⟩)
age(timestamptz '2024-03-31 02:00+00', timestamptz '2024-02-29 12:00+00')
