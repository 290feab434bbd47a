//! Questions about names: addresses (A, AAAA) and names of addresses (PTR) are asked for through Tor, nothing else is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::doors;
use crate::gateway::Gateway;
use crate::refusal::Refusal;

pub mod message;

use message::{Answer, Asked, Kind};

/// Longest question that is read; what is longer is no question that has an answer here.
const QUESTION: usize = 1232;
/// How long to leave the socket alone when it has an error to tell.
const PAUSE: Duration = Duration::from_millis(20);

/// Answers questions for ever.
pub async fn hear(gateway: Arc<Gateway>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = [0; QUESTION];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(client) = doors::source(from) else { continue };
        let question = buffer.get(..len).unwrap_or_default();
        gateway.counters.questions.count();
        match message::parse(question) {
            Asked::Nothing => gateway.counters.bad_questions.count(),
            Asked::Badly(answer) => {
                gateway.counters.bad_questions.count();
                let _ = socket.try_send_to(&answer, from);
            }
            Asked::Other(answer) => {
                let _ = socket.try_send_to(&answer, from);
            }
            Asked::For(kind) => {
                let Some(place) = gateway.questions.admit(client) else {
                    gateway.counters.questions_too_many.count();
                    continue;
                };
                let (gateway, socket, question) =
                    (Arc::clone(&gateway), Arc::clone(&socket), question.to_vec());
                tokio::spawn(async move {
                    let _place = place;
                    answer(&gateway, &socket, (client, from), (&question, kind)).await;
                });
            }
        }
    }
}

async fn answer(
    gateway: &Gateway,
    socket: &UdpSocket,
    (client, from): (Ipv4Addr, SocketAddr),
    (question, kind): (&[u8], Kind),
) {
    let found = find(gateway, client, kind).await;
    if found.as_ref().is_ok_and(|answer| !answer.is_empty()) {
        gateway.counters.answered.count();
    }
    if let Some(bytes) = message::answer(question, found) {
        let _ = socket.send_to(&bytes, from).await;
    }
}

async fn find(gateway: &Gateway, client: Ipv4Addr, kind: Kind) -> Result<Answer, Refusal> {
    match kind {
        Kind::Pointer(address) => Ok(Answer::Names(gateway.resolve_ptr(client, address, None).await?)),
        Kind::V4(name) => {
            let found = gateway.resolve(client, &name, None).await?;
            let v4 = |address: IpAddr| if let IpAddr::V4(v4) = address { Some(v4) } else { None };
            Ok(Answer::V4(found.into_iter().filter_map(v4).collect()))
        }
        Kind::V6(name) => {
            let found = gateway.resolve(client, &name, None).await?;
            let v6 = |address: IpAddr| if let IpAddr::V6(v6) = address { Some(v6) } else { None };
            Ok(Answer::V6(found.into_iter().filter_map(v6).collect()))
        }
    }
}
