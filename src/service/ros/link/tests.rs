//! Bridges that are one, and others.

use super::*;
use crate::service::ros::message::Header;
use crate::service::ros::topics::{MOST_TOPICS, RESTING};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// Somebody who listens, and takes one connection.
fn listen<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Bridge, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bridge = Bridge {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        path: "/".into(),
    };
    let serving = thread::spawn(move || serve(listener.accept().unwrap().0));
    (bridge, serving)
}

/// What a bridge hears until it is left.
fn operations(stream: TcpStream) -> Vec<Value> {
    let mut socket = tungstenite::accept(stream).unwrap();
    let mut heard = Vec::new();
    loop {
        match socket.read() {
            Ok(Frame::Text(text)) => heard.push(serde_json::from_str(&text).unwrap()),
            Ok(_) => {}
            Err(_) => return heard,
        }
    }
}

fn ids() -> Message {
    Message::ids(Header::default(), Vec::new())
}

#[test]
fn a_topic_is_announced_once_and_given_back_when_its_face_has_gone() {
    let (bridge, serving) = listen(operations);
    let mut link = Link::open(&bridge, LONG).unwrap();
    link.greet().unwrap();
    let start = Instant::now();
    let (face, tracked) = ("/humans/faces/f1abc/roi", "/humans/faces/tracked");
    for topic in [face, tracked, face, "/demeanor/events"] {
        link.publish(topic, &ids(), start).unwrap();
    }
    link.tidy(start + RESTING - Duration::from_millis(1))
        .unwrap();
    link.tidy(start + RESTING).unwrap();
    link.publish(face, &ids(), start + RESTING).unwrap();
    link.leave().unwrap();
    let heard = serving.join().unwrap();
    let (mut said, op) = (Vec::new(), |o: &Value| {
        let word = |name: &str| o[name].as_str().unwrap().to_owned();
        (word("op"), word("topic"))
    });
    said.extend(heard.iter().map(op));
    let said: Vec<(&str, &str)> = said.iter().map(|(o, t)| (&**o, &**t)).collect();
    let events = "/demeanor/events";
    let expected = [
        ("advertise", face),
        ("publish", face),
        ("advertise", tracked),
        ("publish", tracked),
        ("publish", face),
        ("advertise", events),
        ("publish", events),
        ("unadvertise", face),
        ("advertise", face),
        ("publish", face),
    ];
    assert_eq!(said, expected);
    assert_eq!(heard[0]["type"], "hri_msgs/msg/IdsList");
    let header = json!({ "stamp": { "sec": 0, "nanosec": 0 }, "frame_id": "" });
    assert_eq!(heard[1]["msg"], json!({ "header": header, "ids": [] }));
}

#[test]
fn however_many_faces_come_a_bridge_knows_few_topics() {
    let (bridge, serving) = listen(operations);
    let mut link = Link::open(&bridge, LONG).unwrap();
    let now = Instant::now();
    for n in 0..300 {
        let topic = format!("/humans/faces/f{n}abc/roi");
        link.publish(&topic, &ids(), now + Duration::from_millis(n))
            .unwrap();
    }
    link.leave().unwrap();
    let heard = serving.join().unwrap();
    let count = |op: &str| heard.iter().filter(|o| o["op"] == op).count();
    assert_eq!(count("publish"), 300);
    assert_eq!(count("advertise") - count("unadvertise"), MOST_TOPICS);
    let first = heard.iter().find(|o| o["op"] == "unadvertise").unwrap();
    assert_eq!(first["topic"], "/humans/faces/f0abc/roi");
}

#[test]
fn a_complaint_is_heard_in_a_few_words() {
    let complaint = |text: &str| match understood(text) {
        Heard::Complaint(what) => Some(what),
        _ => None,
    };
    let said = r#"{"op":"status","level":"error","msg":"no\nhri_msgs"}"#;
    assert_eq!(complaint(said).as_deref(), Some("nohri_msgs"));
    let long = format!(
        r#"{{"op":"status","level":"error","msg":"{}"}}"#,
        "x".repeat(9999)
    );
    assert_eq!(complaint(&long).unwrap().len(), 200);
    for other in [
        r#"{"op":"status","level":"info","msg":"x"}"#,
        r#"{"op":"publish","topic":"/x","msg":{}}"#,
        "[]",
        "",
        "{\"op\":1}",
    ] {
        assert_eq!(complaint(other), None, "{other}");
    }
}

/// What is told of somebody who is no bridge, or a hostile one.
fn fault(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let (bridge, serving) = listen(serve);
    let begun = Instant::now();
    let met = Link::open(&bridge, SHORT).and_then(|mut link| link.greet());
    assert!(begun.elapsed() < 20 * SHORT, "it hangs");
    let _ = serving.join();
    met.err().map(|fault| fault.to_string()).unwrap_or_default()
}

/// Takes what a client asks, until it goes.
fn drain(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Agrees to speak by WebSocket, and then says these bytes.
fn then(bytes: Vec<u8>) -> impl FnOnce(TcpStream) + Send + 'static {
    move |stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        let stream = socket.get_mut();
        let _ = stream.write_all(&bytes);
        drain(stream);
    }
}

#[test]
fn who_is_no_bridge_is_told_in_a_sentence_and_in_time() {
    let answers = |text: &'static str| {
        move |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(text.as_bytes());
        }
    };
    let other = fault(answers(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ));
    assert!(other.contains("answers 404 Not Found"), "{other}");
    let broker = fault(answers("SSH-2.0-OpenSSH_9.2\r\n"));
    assert!(broker.contains("no rosbridge's"), "{broker}");
    assert!(fault(drop).contains("closed the connection"));
    assert!(fault(|mut s| drain(&mut s)).contains("has not answered"));
    // a byte now and then does not keep it waiting
    let dripping = fault(|mut stream: TcpStream| {
        let head = b"HTTP/1.1 101 Switching Protocols\r\n".iter().cycle();
        for byte in head {
            thread::sleep(SHORT / 10);
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
    });
    assert!(dripping.contains("has not answered"), "{dripping}");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let nobody = Bridge::try_from(format!("ws://127.0.0.1:{port}")).unwrap();
    let said = Link::open(&nobody, SHORT).err().unwrap().to_string();
    assert!(said.contains("check that the rosbridge runs"), "{said}");
}

#[test]
fn what_a_hostile_bridge_says_ends_its_own_connection() {
    // a text frame that is to be a megabyte long
    let long = [0x81, 127, 0, 0, 0, 0, 0, 0x10, 0, 0];
    let said = fault(then(long.to_vec()));
    assert!(said.contains("no rosbridge's"), "{said}");
    // parts of a message that never ends
    let mut parts = vec![0x01, 126, 0x40, 0];
    parts.extend([b'x'; 0x4000]);
    let mut endless = parts.clone();
    parts[0] = 0x00;
    (0..8).for_each(|_| endless.extend(&parts));
    let said = fault(then(endless));
    assert!(said.contains("no rosbridge's"), "{said}");
    // reserved bits, a masked frame, text that is none
    for bytes in [&[0xf1, 0][..], &[0x81, 0x80, 0, 0, 0, 0], &[0x81, 1, 0xff]] {
        let said = fault(then(bytes.to_vec()));
        assert!(said.contains("no rosbridge's"), "{bytes:?}: {said}");
    }
    // it says goodbye
    let said = fault(then(vec![0x88, 0]));
    assert!(said.contains("closed the connection"), "{said}");
    // it is asked, and only chats
    let chat = [0x81, 2, b'{', b'}'].repeat(500);
    let said = fault(then(chat));
    assert!(said.contains("has not answered"), "{said}");
}

#[test]
fn a_bridge_that_takes_nothing_is_given_up() {
    let (bridge, serving) = listen(|stream| {
        let socket = tungstenite::accept(stream).unwrap();
        thread::sleep(10 * SHORT);
        drop(socket);
    });
    let mut link = Link::open(&bridge, SHORT).unwrap();
    let text = Message::text("x".repeat(100_000));
    let publish = |_| {
        link.publish("/demeanor/events", &text, Instant::now())
            .err()
    };
    let said = (0..1000).find_map(publish).unwrap().to_string();
    assert!(said.contains("has not answered"), "{said}");
    serving.join().unwrap();
}
