//! What a client sends to `retrograd serve`: bytes of HTTP, up to the checked request.

use retrograd_formats::{BpeOptions, Config, Tokenizer, train_bpe};
use retrograd_web::ServeOptions;
use retrograd_web::server::Rehearsal;
use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};

/// Line feeds in an input stand for the carriage return and line feed of HTTP, so that a corpus can be written by hand.
const LINE: &[u8] = b"\r\n";

thread_local! {
    /// Made once: what is tested keeps nothing from one connection to the next.
    static SERVER: OnceCell<Rehearsal> = const { OnceCell::new() };
}

/// Sends the bytes over a connection of their own and checks every answer.
pub fn server_request(bytes: &[u8]) {
    let (head, body) = match bytes.windows(2).position(|two| two == b"\n\n") {
        Some(at) => bytes.split_at(at + 2),
        None => (bytes, &[][..]),
    };
    let mut sent = Vec::with_capacity(bytes.len() + 256);
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) if !line.ends_with(b"\r") => sent.extend(line.iter().chain(LINE)),
            _ => sent.extend_from_slice(line),
        }
    }
    sent.extend_from_slice(body);
    let received = SERVER.with(|server| {
        server.get_or_init(server_of_a_small_model).exchange(&sent).expect("a pair of sockets")
    });
    check_answers(&received, &sent);
}

fn server_of_a_small_model() -> Rehearsal {
    let config = Config {
        vocab_size: 300,
        n_positions: 64,
        n_embd: 8,
        n_layer: 3,
        n_head: 2,
        n_inner: 32,
        layer_norm_epsilon: 1e-5,
        bos_token_id: Some(0),
        eos_token_id: Some(0),
        tie_word_embeddings: true,
    };
    let options = ServeOptions {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 7878,
        allowed_hosts: vec!["my.box".to_owned()],
        max_tokens: 32,
    };
    Rehearsal::new(config, Some(small_tokenizer()), &options).expect("sockets")
}

/// All bytes and a few merges.
fn small_tokenizer() -> Tokenizer {
    let directory = tempfile::tempdir().expect("a directory");
    let text = directory.path().join("text");
    std::fs::write(&text, "The capital of France is Paris.\n".repeat(4)).expect("writing a file");
    train_bpe(&[text], &BpeOptions::new(280)).expect("a tokenizer")
}

/// Nothing that a client sends may be answered as the program's own defect; every refusal says what and why.
fn check_answers(received: &[u8], sent: &[u8]) {
    let mut rest = received;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        let head = std::str::from_utf8(&rest[..end]).expect("a head in ASCII");
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        assert!(matches!(status, 100 | 200 | 400..=431 | 503), "{head}");
        let length = header(head, "content-length").map_or(0, |length| length.parse().expect("a length"));
        rest = &rest[end..];
        // The answer to HEAD has the length of what it leaves out.
        let whole = rest.get(..length);
        let Some(body) = whole.filter(|body| !body.starts_with(b"HTTP/1.1 ")) else {
            assert!(contains(sent, b"HEAD "), "{head} is cut off");
            continue;
        };
        rest = &rest[length..];
        let ours = header(head, "content-security-policy").is_some();
        assert!(ours || status == 100 || status == 400 || status == 431 || status == 414, "{head}");
        if status >= 400 && ours {
            let said: serde_json::Value = serde_json::from_slice(body).expect("an error in JSON");
            for field in ["what", "message"] {
                let text = said["error"][field].as_str().expect("a text");
                assert!(!text.is_empty() && !text.contains(char::is_control), "{said}");
            }
        }
        if status == 503 {
            let lower = sent.to_ascii_lowercase();
            assert!(
                contains(sent, b"POST /api/run") || contains(sent, b"POST http"),
                "accepted without being asked"
            );
            assert!(contains(&lower, b"application/json") && contains(&lower, b":7878"));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
