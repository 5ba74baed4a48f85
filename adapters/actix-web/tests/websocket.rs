//! A WebSocket's slot: the socket is the response body, so the slot is in use until the server's side of it is closed.

mod support;

use actix_web::web::{self, Data, Payload};
use actix_web::{App, Error, HttpRequest, HttpResponse};
use actix_ws::{Message, MessageStream, Session};
use futures_util::StreamExt;
use std::future::pending;
use std::sync::Arc;
use support::{Client, Running, comes_true, dial, keeps, settles};
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tidegate_actix_web::{Concurrency, Slot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// Upgrades, and leaves the socket to `task`.
async fn open<Task: Future<Output = ()> + 'static>(
    request: HttpRequest,
    body: Payload,
    task: impl FnOnce(Session, MessageStream) -> Task,
) -> Result<HttpResponse, Error> {
    let (response, session, messages) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(task(session, messages));
    Ok(response)
}

async fn echo(mut session: Session, mut messages: MessageStream) {
    while let Some(Ok(message)) = messages.next().await {
        let sent = match message {
            Message::Text(text) => session.text(text).await,
            Message::Close(reason) => {
                let _ = session.close(reason).await;
                return;
            }
            _ => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn server(allow_half_closed: bool) -> (LocalGuard, Arc<Notify>, Running) {
    let guard = LocalGuard::fixed(2);
    let go = Arc::new(Notify::new());
    let middleware = Concurrency::new(guard.clone()).exempt(|it| it.path() == "/health");
    let data = Data::new(Arc::clone(&go));
    let app = move || {
        App::new()
            .wrap(middleware.clone())
            .app_data(data.clone())
            .route("/health", web::get().to(HttpResponse::Ok))
            .route("/echo", web::get().to(|it, body| open(it, body, echo)))
            .route(
                "/closes",
                web::get().to(|it, body, go: Data<Arc<Notify>>| {
                    open(it, body, |session, _messages| async move {
                        go.notified().await;
                        let _ = session.close(None).await;
                    })
                }),
            )
            .route(
                "/forgets",
                web::get().to(|it, body| open(it, body, |_session, _messages| async {})),
            )
            .route(
                "/panics",
                web::get().to(|it, body| {
                    open(it, body, |session, _messages| async move {
                        assert!(
                            session.close(None).await.is_err(),
                            "a bug in a socket's task"
                        );
                    })
                }),
            )
            .route(
                "/deaf",
                web::get().to(|it, body| {
                    open(it, body, |session, messages| async move {
                        let _kept = (session, messages);
                        pending().await
                    })
                }),
            )
            .route(
                "/held",
                web::get().to(|it, body, slot: Slot, go: Data<Arc<Notify>>| {
                    open(it, body, |session, messages| async move {
                        let _hold = slot.hold();
                        echo(session, messages).await;
                        go.notified().await;
                    })
                }),
            )
    };
    let server = serve!(app, h1_allow_half_closed(allow_half_closed));
    (guard, go, server)
}

/// A masked text frame "hi" (RFC 6455 5.2), and its echo.
async fn talk(client: &mut Client) {
    let frame = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    client.0.write_all(&frame).await.unwrap();
    let mut echo = [0; 4];
    client.0.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
}

#[actix_web::test]
async fn i4_a_socket_counts_until_the_client_closes_it() {
    for allow_half_closed in [true, false] {
        let (guard, _, server) = server(allow_half_closed);
        let mut first = dial(&server, "/echo").await;
        let mut second = dial(&server, "/echo").await;
        talk(&mut first).await;
        talk(&mut second).await;
        assert_eq!(guard.in_flight(), 2);
        let mut third = Client::connect(&server).await;
        third.send("GET", "/echo", "").await;
        assert_eq!(third.head().await.0, 503);

        // One with a close frame, one without a word.
        first.0.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
        settles(&guard, 1).await;
        talk(&mut second).await;
        drop(second);
        settles(&guard, 0).await;
    }
}

#[actix_web::test]
async fn i4_a_socket_counts_until_the_server_closes_it() {
    let (guard, go, server) = server(true);
    let mut client = dial(&server, "/closes").await;
    assert!(keeps(&server, &guard, 1).await);
    go.notify_one();
    assert_eq!(client.rest().await, [0x88, 0x00], "a close frame");
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_a_socket_whose_task_forgets_it_or_panics() {
    for path in ["/forgets", "/panics"] {
        let (guard, _, server) = server(true);
        let mut client = dial(&server, path).await;
        client.rest().await;
        settles(&guard, 0).await;
    }
}

#[actix_web::test]
async fn i4_a_socket_whose_task_does_not_listen() {
    let (guard, _, server) = server(false);
    let client = dial(&server, "/deaf").await;
    settles(&guard, 1).await;
    drop(client);
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_a_task_that_holds_the_slot_keeps_it_beyond_the_socket() {
    let (guard, go, server) = server(true);
    let mut client = dial(&server, "/held").await;
    talk(&mut client).await;
    drop(client);
    assert!(keeps(&server, &guard, 1).await);
    go.notify_one();
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_an_upgrade_that_fails_gives_the_slot_back() {
    let (guard, _, server) = server(true);
    let (status, _) = support::ask(&server, "GET", "/echo").await;
    assert_eq!(status, 400, "no handshake");
    assert!(comes_true(|| guard.in_flight() == 0).await);
}
