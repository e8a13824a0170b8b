//! `retrograd serve`: answers, refusals, limits; 500 mixed requests from 20 clients.

use crate::harness::{fixture, retrograd};
use crate::server::{Server, events};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

const GOOD: &str = r#"{"ids": [81, 73, 33], "target_id": 7, "views": ["heads"]}"#;

#[test]
fn answers_and_refusals() {
    let server = Server::start(&fixture("untied"));
    let (status, page) = server.request("GET", "/", "", b"");
    assert!(status == 200 && page.contains("retrograd-served"));
    let (status, model) = server.request("GET", "/api/model", "", b"");
    let model: serde_json::Value = serde_json::from_str(&model).unwrap();
    assert_eq!(
        (status, model["shape"]["n_layer"].as_u64(), model["tokenizer"].as_bool()),
        (200, Some(2), Some(false))
    );

    let (status, body) = server.run(GOOD);
    let lines = events(&body);
    assert_eq!((status, lines[0]["event"].as_str()), (200, Some("queued")));
    assert_eq!(lines.last().unwrap()["event"], "result", "{body}");

    let json = "Content-Type: application/json\r\n";
    let own = format!("{json}Origin: http://127.0.0.1:{}\r\n", server.port);
    assert_eq!(server.request("POST", "/api/run", &own, GOOD.as_bytes()).0, 200);
    let long = vec![b' '; 300 << 10];
    let many = format!(r#"{{"ids": [{}1]}}"#, "1,".repeat(40));
    for (method, path, headers, body, wanted, part) in [
        ("POST", "/api/run", json, &b"{"[..], 400, "not a request in JSON"),
        ("POST", "/api/run", json, b"\xff\xfe{}", 400, "not a request in JSON"),
        ("POST", "/api/run", json, b"{\"ids\": []}", 400, "is empty"),
        ("POST", "/api/run", json, b"{\"ids\": [257]}", 400, "0 to 256"),
        ("POST", "/api/run", json, b"{\"prompt\": \"a\"}", 400, "no tokenizer"),
        ("POST", "/api/run", json, b"{\"ids\": [1], \"file\": \"/etc/passwd\"}", 400, "unknown field"),
        ("POST", "/api/run", json, b"{\"ids\": [1], \"position\": 1}", 400, "position"),
        ("POST", "/api/run", json, many.as_bytes(), 400, "prompt"),
        ("POST", "/api/run", json, &long, 413, "larger"),
        ("POST", "/api/run", "Content-Type: text/plain\r\n", GOOD.as_bytes(), 415, "application/json"),
        ("POST", "/api/run", "", GOOD.as_bytes(), 415, "application/json"),
        ("GET", "/api/run", "", b"", 405, "method"),
        ("POST", "/", json, b"{}", 405, "method"),
        ("GET", "/../../etc/passwd", "", b"", 404, "nothing here"),
        ("GET", "/models/untied/model.safetensors", "", b"", 404, "nothing here"),
        ("GET", "/", "Host: evil.example\r\n", b"", 421, "Host"),
        (
            "POST",
            "/api/run",
            "Content-Type: application/json\r\nOrigin: http://evil.example\r\n",
            GOOD.as_bytes(),
            403,
            "Origin",
        ),
        ("GET", "/api/model", "Sec-Fetch-Site: cross-site\r\n", b"", 403, "Sec-Fetch-Site"),
    ] {
        let (status, answer) = server.request(method, path, headers, body);
        assert_eq!(status, wanted, "{method} {path} {headers}: {answer}");
        let error: serde_json::Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        assert!(error["error"].to_string().contains(part), "'{part}' is not in {answer}");
    }
}

#[test]
fn a_taken_port_is_named_with_its_owner() {
    let server = Server::start(&fixture("untied"));
    let port = server.port.to_string();
    let owner = if cfg!(target_os = "linux") { "retrograd" } else { "in use" };
    retrograd(&["serve", "--model", &fixture("untied"), "--port", &port])
        .fails(&[&port, "in use", owner, "--port 0"]);
    retrograd(&["serve", "--model", &fixture("untied"), "--address", "203.0.113.7"])
        .fails(&["203.0.113.7", "--address"]);
    retrograd(&["serve", "--max-tokens", "0"]).fails(&["--max-tokens"]);
    retrograd(&["serve", "--address", "here"]).fails_as_usage(&["--address"]);
}

/// Each of 100 clients at once is answered, or told to come again; who says nothing is not waited for.
#[test]
fn a_hundred_clients_at_once() {
    let server = Server::start(&fixture("untied"));
    let silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(("127.0.0.1", server.port)).unwrap()).collect();
    let answered = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(|| server.run(GOOD))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let (mut done, mut later) = (0, 0);
    for (status, body) in &answered {
        match status {
            200 => {
                assert_eq!(events(body).last().unwrap()["event"], "result");
                done += 1;
            }
            503 => {
                assert!(body.contains("too many requests are waiting"), "{body}");
                later += 1;
            }
            other => panic!("{other}: {body}"),
        }
    }
    println!("{done} answered, {later} told to come again");
    assert!(done >= 17);
    drop(silent);
    assert_eq!(server.run(GOOD).0, 200);
}

/// 500 requests, good and bad, from 20 clients at once; some vanish in the middle.
#[test]
fn five_hundred_mixed_requests() {
    let server = Server::start(&fixture("untied"));
    let expected = events(&server.run(GOOD).1).pop().unwrap()["data"].clone();
    assert!(expected.is_string());
    for _ in 0..30 {
        server.run(GOOD);
    }
    let before = server.memory();
    std::thread::scope(|scope| {
        for client in 0..20 {
            let (server, expected) = (&server, &expected);
            scope.spawn(move || {
                for at in 0..25 {
                    match (client + at) % 5 {
                        0 | 1 => loop {
                            let (status, body) = server.run(GOOD);
                            if status == 503 {
                                // The queue is full, as it says it may be.
                                std::thread::sleep(Duration::from_millis(40));
                                continue;
                            }
                            assert_eq!(status, 200);
                            assert_eq!(&events(&body).pop().unwrap()["data"], expected);
                            break;
                        },
                        2 => assert_eq!(server.run("{\"ids\": [9999]}").0, 400),
                        3 => assert_eq!(server.request("GET", &format!("/{at}"), "", b"").0, 404),
                        _ => {
                            // Asks, and is gone; or says it will send more than it does.
                            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
                            let length = if at % 2 == 0 { GOOD.len() } else { GOOD.len() + 100 };
                            let head = format!("POST /api/run HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{GOOD}", server.port);
                            stream.write_all(head.as_bytes()).unwrap();
                        }
                    }
                }
            });
        }
    });
    let (status, body) = server.run(GOOD);
    assert_eq!((status, &events(&body).pop().unwrap()["data"]), (200, &expected));
    if let (Some(before), Some(after)) = (before, server.memory()) {
        println!("memory: {before} KiB before, {after} KiB after 500 requests");
        assert!(after < before + (24 << 10), "memory grew from {before} to {after} KiB");
    }
}
