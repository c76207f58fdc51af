//! Moments as people write and read them, always in UTC.

use mediamill_shared::units::Millis;

/// `2026-02-28 23:59:59Z`.
pub(crate) fn shown(at: Millis) -> String {
    format!("{}Z", plain(at))
}

/// `2026-02-28 23:59:59`, as Chevereto's Tenants API writes them.
pub(crate) fn plain(at: Millis) -> String {
    let seconds = at.get().div_euclid(1_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a civil date, https://howardhinnant.github.io/date_algorithms.html#civil_from_days
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// From `2026-02-28`, `2026-02-28 23:59:59` or `2026-02-28T23:59:59Z`, years 1970 to 9999. `None`: it is none of them, or
/// no day of the calendar.
pub(crate) fn read(text: &str) -> Option<Millis> {
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let (date, time) = text.split_once([' ', 'T', 't']).unwrap_or((text, "00:00:00"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let fits = year >= 1970 && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    if !fits {
        return None;
    }
    // A civil date to days, https://howardhinnant.github.io/date_algorithms.html#days_from_civil
    let shifted_year = year - i64::from(month <= 2);
    let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let at = Millis::new((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000);
    // 30 February would come back as a day of March.
    plain(at).starts_with(date).then_some(at)
}

fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut found = [0; 3];
    for (place, length) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_dates_and_read_back() {
        for (millis, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_767_225_599_000, "2025-12-31 23:59:59Z"),
            (-1, "1969-12-31 23:59:59Z"),
        ] {
            assert_eq!(shown(Millis::new(millis)), text);
            let back = (millis >= 0).then_some(Millis::new(millis / 1_000 * 1_000));
            assert_eq!(read(text), back, "{text}");
            assert_eq!(read(&text.replace(' ', "T")), back, "{text}");
        }
        assert_eq!(read("1970-01-02"), Some(Millis::new(86_400_000)));
    }

    #[test]
    fn what_is_no_day_is_no_moment() {
        for bad in [
            "",
            "2026-02-30",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-1-1",
            "2026-01-01 24:00:00",
            "2026-01-01 10:00",
            "26-01-01",
            "2026-01-01-01",
            "2026-01-01 +1:00:00",
            "é026-01-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
