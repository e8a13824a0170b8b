//! The page as HTML: everything inside, and a policy under which the browser itself lets nothing out.

use crate::document::{Page, PageError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const SCRIPT: &str = include_str!("../page/dist/page.js");
const STYLE: &str = include_str!("../page/dist/page.css");

/// The Content-Security-Policy of a page that may connect to `connect` (`'none'`, or `'self'` where it is served):
/// this script and this style by their hashes, pictures that the page makes itself, and nothing else.
pub fn csp_of(connect: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data: blob:; connect-src {connect}; \
         base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

impl Page {
    /// One file that holds script, style and data, opens from disk and makes no request.
    ///
    /// # Errors
    /// When the data is larger than a page can hold.
    pub fn to_html(&self) -> Result<String, PageError> {
        let data = STANDARD.encode(self.pack()?);
        // The policy is in the file itself: there is no server to send it.
        let head =
            format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n", csp_of("'none'"));
        Ok(html(&head, &format!("<script type=\"text/plain\" id=\"data\">{data}</script>\n")))
    }
}

/// The page that asks the server it came from.
pub fn served_html() -> String {
    html("<meta name=\"retrograd-served\" content=\"1\">\n", "")
}

fn html(head: &str, data: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{head}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>Retrograd</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <div id=\"app\"><noscript><p>This page is drawn by a script; it asks nothing of the network.</p></noscript></div>\n\
         {data}<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_page_ends_its_script_or_asks_the_network() {
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
        let page = served_html();
        for word in ["src=\"http", "href=\"http", "@import", "url(http"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(csp_of("'none'").contains("connect-src 'none'"));
    }
}
