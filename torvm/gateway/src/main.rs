//! The gateway program: what comes from clients goes through Tor or nowhere.

use std::net::SocketAddr;
use std::sync::Arc;

use arti_client::config::TorClientConfigBuilder;
use arti_client::{DangerouslyIntoTorAddr, IntoTorAddr, StreamPrefs, TorAddr, TorClient};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tor_rtcompat::PreferredRuntime;

type Client = Arc<TorClient<PreferredRuntime>>;
type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Deserialize)]
struct Config {
    listen: Listen,
    arti: TorClientConfigBuilder,
}

#[derive(Deserialize)]
struct Listen {
    transparent: SocketAddr,
    socks: SocketAddr,
    dns: SocketAddr,
}

fn main() -> Result<(), AnyError> {
    let path = std::env::args().skip_while(|a| a != "--config").nth(1).ok_or("--config FILE")?;
    let config: Config = toml::from_str(&std::fs::read_to_string(path)?)?;
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "provider")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(run(config))
}

async fn run(config: Config) -> Result<(), AnyError> {
    let transparent = TcpListener::bind(config.listen.transparent).await?;
    let socks = TcpListener::bind(config.listen.socks).await?;
    let dns = Arc::new(UdpSocket::bind(config.listen.dns).await?);
    let tor = TorClient::with_runtime(PreferredRuntime::current()?)
        .config(config.arti.build()?)
        .create_unbootstrapped()?;
    let t = tor.clone();
    tokio::spawn(async move {
        match t.bootstrap().await {
            Ok(()) => eprintln!("ready"),
            Err(e) => eprintln!("bootstrap: {e:?}"),
        }
    });
    let t = tor.clone();
    tokio::spawn(async move {
        loop {
            let Ok((s, peer)) = transparent.accept().await else { continue };
            let t = t.clone();
            tokio::spawn(async move {
                if let Err(e) = serve_transparent(&t, s, peer).await {
                    eprintln!("transparent: {e}");
                }
            });
        }
    });
    let t = tor.clone();
    tokio::spawn(async move {
        loop {
            let Ok((s, peer)) = socks.accept().await else { continue };
            let t = t.clone();
            tokio::spawn(async move {
                if let Err(e) = serve_socks(&t, s, peer).await {
                    eprintln!("socks: {e}");
                }
            });
        }
    });
    let mut buffer = [0; 512];
    loop {
        let (n, from) = dns.recv_from(&mut buffer).await?;
        let (t, d, q) = (tor.clone(), dns.clone(), buffer[..n].to_vec());
        tokio::spawn(async move {
            if let Ok(a) = answer(&t, &q).await {
                let _ = d.send_to(&a, from).await;
            }
        });
    }
}

async fn answer(tor: &Client, question: &[u8]) -> Result<Vec<u8>, AnyError> {
    use simple_dns::{CLASS, Packet, ResourceRecord, rdata::RData};
    let q = Packet::parse(question)?;
    let name = q.questions.first().ok_or("none")?.qname.clone();
    let mut reply = Packet::new_reply(q.id());
    reply.questions.clone_from(&q.questions);
    for a in tor.resolve(&name.to_string()).await? {
        if let std::net::IpAddr::V4(a) = a {
            reply.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 60, RData::A(a.into())));
        }
    }
    Ok(reply.build_bytes_vec()?)
}

async fn serve_transparent(tor: &Client, s: TcpStream, _peer: SocketAddr) -> Result<(), AnyError> {
    s.set_zero_linger()?;
    let to = socket2::SockRef::from(&s).original_dst_v4()?.as_socket().ok_or("family")?;
    join(tor, to.into_tor_addr_dangerously()?, s).await
}

async fn join(tor: &Client, to: TorAddr, mut s: TcpStream) -> Result<(), AnyError> {
    let mut stream = tor.connect_with_prefs(to, &StreamPrefs::new()).await?;
    tokio::io::copy_bidirectional(&mut s, &mut stream).await?;
    Ok(())
}

async fn serve_socks(tor: &Client, mut s: TcpStream, _peer: SocketAddr) -> Result<(), AnyError> {
    use tor_socksproto::{Buffer, Handshake, NextStep, SocksProxyHandshake, SocksStatus};
    let mut handshake = SocksProxyHandshake::new();
    let mut buffer = Buffer::new_precise();
    let request = loop {
        match handshake.step(&mut buffer)? {
            NextStep::Send(data) => {
                s.write_all(&data).await?;
            }
            NextStep::Recv(mut recv) => {
                let n = s.read(recv.buf()).await?;
                recv.note_received(n)?;
            }
            NextStep::Finished(fin) => break fin.into_output()?,
        }
    };
    let to = (request.addr().to_string(), request.port()).into_tor_addr()?;
    match tor.connect(to).await {
        Ok(mut stream) => {
            s.write_all(&handshake_reply(&request, SocksStatus::SUCCEEDED)?).await?;
            tokio::io::copy_bidirectional(&mut s, &mut stream).await?;
        }
        Err(e) => {
            s.write_all(&handshake_reply(&request, SocksStatus::GENERAL_FAILURE)?).await?;
            return Err(e.into());
        }
    }
    Ok(())
}

fn handshake_reply(
    r: &tor_socksproto::SocksRequest,
    s: tor_socksproto::SocksStatus,
) -> Result<Vec<u8>, AnyError> {
    Ok(r.reply(s, None)?)
}
