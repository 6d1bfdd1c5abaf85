//! The SSH side of the server: who may enter, and what for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet};

use super::house::{House, LoginRule};
use super::service::{self, Service};

/// One connection.
pub(super) struct Visitor {
    house: Arc<House>,
    number: u64,
    key_shown: bool,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

/// What to offer under `rule`.
pub(super) fn methods(rule: LoginRule, has_key: bool) -> MethodSet {
    let methods: &[MethodKind] = match rule {
        LoginRule::PasswordOrKey if has_key => &[MethodKind::PublicKey, MethodKind::Password],
        LoginRule::PasswordOrKey => &[MethodKind::Password],
        LoginRule::KeyboardInteractive => &[MethodKind::KeyboardInteractive],
        LoginRule::KeyThenPassword => &[MethodKind::PublicKey],
    };
    methods.into()
}

impl Visitor {
    pub(super) fn new(house: Arc<House>, number: u64) -> Self {
        Self { house, number, key_shown: false, channels: HashMap::new() }
    }

    /// Counts a credential, and a login if it was `good`.
    fn judge(&self, good: bool) -> Auth {
        let counters = &self.house.counters;
        counters.credentials.fetch_add(1, Ordering::Relaxed);
        let full = self
            .house
            .script()
            .most_logins
            .is_some_and(|most| counters.logins.load(Ordering::Relaxed) >= most);
        if !good || full {
            return Auth::reject();
        }
        counters.logins.fetch_add(1, Ordering::Relaxed);
        Auth::Accept
    }

    fn knows(&self, user: &str, password: &str) -> bool {
        self.house
            .account
            .as_ref()
            .is_none_or(|account| account.user == user && account.password.reveal() == password)
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let allowed = match self.house.login {
            LoginRule::PasswordOrKey => true,
            LoginRule::KeyThenPassword => self.key_shown,
            LoginRule::KeyboardInteractive => false,
        };
        Ok(self.judge(allowed && self.knows(user, password)))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let right_user = self.house.account.as_ref().is_none_or(|account| account.user == user);
        let good = right_user
            && self
                .house
                .authorized_key
                .as_ref()
                .is_some_and(|known| known.key_data() == key.public_key.key_data());
        if good && self.house.login == LoginRule::KeyThenPassword {
            self.house.counters.credentials.fetch_add(1, Ordering::Relaxed);
            self.key_shown = true;
            let next: &[MethodKind] = &[MethodKind::Password];
            return Ok(Auth::Reject {
                proceed_with_methods: Some(next.into()),
                partial_success: true,
            });
        }
        Ok(self.judge(good && self.house.login == LoginRule::PasswordOrKey))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        if self.house.login != LoginRule::KeyboardInteractive {
            return Ok(Auth::reject());
        }
        let Some(mut response) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        let password = response.next().unwrap_or_default();
        Ok(self.judge(self.knows(user, &String::from_utf8_lossy(&password))))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.channels.remove(&id) {
            Some(channel) if name == "sftp" => {
                session.channel_success(id)?;
                tokio::spawn(service::serve(
                    channel.into_stream(),
                    Service::new(self.house.clone(), self.number),
                ));
                Ok(())
            }
            _ => session.channel_failure(id),
        }
    }
}
