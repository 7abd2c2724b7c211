//! Where the daemon may listen: pure.
//!
//! Without settings: this machine alone. Anywhere else a token is always asked for, and it must not go over the network
//! for everybody to read: TLS, or the word of the person who sets it up that something else sees to that.

use std::net::SocketAddr;

use crate::error::{Error, Kind, Result};

/// What the settings say of it.
#[derive(Clone, Copy, Debug)]
pub struct Exposure {
    /// Where.
    pub listen: SocketAddr,
    /// Whether there are certificates.
    pub tls: bool,
    /// Whether plain HTTP was asked for by name.
    pub insecure: bool,
    /// Whether tokens are asked for even if none was ever made.
    pub always: bool,
}

impl Exposure {
    /// Whether tokens are asked for even if none was ever made.
    ///
    /// # Errors
    /// `Invalid`, with what to do, if it may not listen there.
    pub fn judged(self) -> Result<bool> {
        let Exposure { listen, tls, insecure, always } = self;
        if listen.ip().to_canonical().is_loopback() {
            return Ok(always);
        }
        if !tls && !insecure {
            let message = "tokens would cross the network in plain text: set tls.certificate and tls.key, listen on \
                           127.0.0.1, or say --insecure where the network is nobody else's or a proxy adds TLS";
            return Err(Error::new(Kind::Invalid, message).with("listen", listen));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(listen: &str, tls: bool, insecure: bool, always: bool) -> Option<bool> {
        let listen = listen.parse().expect("an address");
        Exposure { listen, tls, insecure, always }.judged().ok()
    }

    #[test]
    fn beyond_this_machine_it_takes_tls_or_a_word_and_always_tokens() {
        for here in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(judged(here, false, false, false), Some(false), "{here}");
            assert_eq!(judged(here, true, false, true), Some(true), "{here}");
        }
        for there in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
            assert_eq!(judged(there, false, false, true), None, "{there}");
            assert_eq!(judged(there, true, false, false), Some(true), "{there}");
            assert_eq!(judged(there, false, true, false), Some(true), "{there}");
        }
    }
}
