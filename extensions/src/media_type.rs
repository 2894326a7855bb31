//! What an exported CSV file says about its header.
//!
//! Invariant: what an export writes down here, reading obeys. In a bucket it is the media type of the
//! object, on the local disk an extended attribute of the file.

/// A CSV file with a header: <https://www.rfc-editor.org/rfc/rfc4180#section-3>.
pub(crate) const WITH_HEADER: &str = "text/csv; header=present";

/// A CSV file without a header.
pub(crate) const WITHOUT_HEADER: &str = "text/csv; header=absent";

/// The attribute in which a file keeps its media type:
/// <https://www.freedesktop.org/wiki/CommonExtendedAttributes/>.
pub(crate) const ATTRIBUTE: &str = "user.mime_type";

/// Whether a media type says that there is a header. `None` if it does not say.
pub(crate) fn says_header(media_type: &str) -> Option<bool> {
    let mut parameters = media_type.split(';').skip(1);
    parameters.find_map(|parameter| match parameter.trim() {
        "header=present" => Some(true),
        "header=absent" => Some(false),
        _ => None,
    })
}

/// The media type that an export has left with a file.
pub(crate) fn read_attribute(file: &std::fs::File) -> Option<String> {
    let mut value = [0_u8; 64];
    let length = rustix::fs::fgetxattr(file, ATTRIBUTE, &mut value).ok()?;
    String::from_utf8(value.get(..length)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_say_whether_there_is_a_header() {
        assert_eq!(says_header(WITH_HEADER), Some(true));
        assert_eq!(says_header(WITHOUT_HEADER), Some(false));
        assert_eq!(
            says_header("text/csv; charset=utf-8;header=absent"),
            Some(false)
        );
        assert_eq!(says_header("text/csv"), None);
    }
}
