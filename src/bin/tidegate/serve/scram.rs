//! SCRAM-SHA-256, the server's side.
//!
//! Invariant: the server keeps no password, and a client that does not know the password learns
//! nothing from an exchange, not even whether the user exists.
//!
//! The exchange: <https://www.rfc-editor.org/rfc/rfc5802>, and in PostgreSQL's messages:
//! <https://www.postgresql.org/docs/15/sasl-authentication.html>. Channel binding is not offered.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::{digest, hmac, pbkdf2};

/// The mechanism's name.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// PostgreSQL's default.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);

const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 18;

type Key = [u8; digest::SHA256_OUTPUT_LEN];

/// What a server keeps of a password. Its text is PostgreSQL's:
/// `SCRAM-SHA-256$4096:salt$stored key:server key`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

impl Verifier {
    pub(super) fn of_password(password: &str) -> Self {
        let salt: [u8; SALT_BYTES] = rand::random();
        // PostgreSQL takes a password that can't be normalised as it is.
        let normalised = stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password));
        let mut salted: Key = Key::default();
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            &salt,
            normalised.as_bytes(),
            &mut salted,
        );
        Self {
            iterations: ITERATIONS,
            salt: salt.to_vec(),
            stored_key: hash(&sign(&salted, b"Client Key")),
            server_key: sign(&salted, b"Server Key"),
        }
    }

    /// A verifier that no password fits. Its salt is always the same for a name, as a user's is.
    pub(super) fn of_unknown(name: &str, key: &[u8]) -> Self {
        let mut salt = sign(key, name.as_bytes()).to_vec();
        salt.truncate(SALT_BYTES);
        Self {
            iterations: ITERATIONS,
            salt,
            stored_key: rand::random(),
            server_key: rand::random(),
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        write!(
            f,
            "{MECHANISM}${}:{}${}:{}",
            self.iterations,
            text(&self.salt),
            text(&self.stored_key),
            text(&self.server_key)
        )
    }
}

impl FromStr for Verifier {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text
            .strip_prefix(MECHANISM)
            .and_then(|rest| rest.strip_prefix('$'));
        let (how, keys) = rest.and_then(|rest| rest.split_once('$')).ok_or(())?;
        let (iterations, salt) = how.split_once(':').ok_or(())?;
        let (stored, server) = keys.split_once(':').ok_or(())?;
        let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| ());
        let key = |text: &str| Key::try_from(bytes(text)?.as_slice()).map_err(|_| ());
        Ok(Self {
            iterations: iterations.parse().map_err(|_| ())?,
            salt: bytes(salt)?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }
}

fn sign(key: &[u8], text: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut signature = Key::default();
    signature.copy_from_slice(tag.as_ref());
    signature
}

fn hash(bytes: &[u8]) -> Key {
    let mut hashed = Key::default();
    hashed.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hashed
}

/// Why an exchange failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A message is not one of SCRAM, or asks for what is not offered.
    Protocol(&'static str),
    /// The password is wrong, or there is no such user.
    Password,
}

/// An exchange after the client's first message.
pub(super) struct Exchange {
    verifier: Verifier,
    /// The header of the client's first message.
    gs2_header: String,
    client_first: String,
    server_first: String,
    nonce: String,
}

impl Exchange {
    /// Answers the client's first message.
    pub(super) fn begin(verifier: Verifier, message: &[u8]) -> Result<Self, Failure> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        Self::begin_with(verifier, message, &BASE64_STANDARD.encode(nonce))
    }

    fn begin_with(verifier: Verifier, message: &[u8], server_nonce: &str) -> Result<Self, Failure> {
        let malformed = Failure::Protocol("the first SCRAM message is malformed");
        let Ok(message) = std::str::from_utf8(message) else {
            return Err(malformed);
        };
        // "n,,n=user,r=nonce": channel binding, the identity to take on, and the rest.
        let mut parts = message.splitn(3, ',');
        let (Some(binding), Some(identity), Some(bare)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        if binding != "n" && binding != "y" {
            return Err(Failure::Protocol("channel binding is not supported"));
        }
        if !identity.is_empty() {
            return Err(Failure::Protocol("an identity to take on is not supported"));
        }
        let client_nonce = bare.split(',').find_map(|part| part.strip_prefix("r="));
        let is_printable =
            |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let Some(client_nonce) = client_nonce.filter(is_printable) else {
            return Err(malformed);
        };
        let nonce = format!("{client_nonce}{server_nonce}");
        let salt = BASE64_STANDARD.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        Ok(Self {
            gs2_header: format!("{binding},,"),
            client_first: bare.to_owned(),
            verifier,
            server_first,
            nonce,
        })
    }

    /// The answer to the client's first message.
    pub(super) fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Checks the client's last message, and returns the server's.
    pub(super) fn finish(&self, message: &[u8]) -> Result<String, Failure> {
        let malformed = || Failure::Protocol("the last SCRAM message is malformed");
        let message = std::str::from_utf8(message).map_err(|_| malformed())?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut parts = without_proof.split(',');
        let binding = parts.next().and_then(|part| part.strip_prefix("c="));
        let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
        if binding != Some(BASE64_STANDARD.encode(&self.gs2_header).as_str())
            || nonce != Some(&self.nonce)
            || parts.next().is_some()
        {
            return Err(malformed());
        }
        let proof = BASE64_STANDARD.decode(proof).map_err(|_| malformed())?;
        let proof = Key::try_from(proof.as_slice()).map_err(|_| malformed())?;
        let exchanged = format!(
            "{},{},{without_proof}",
            self.client_first, self.server_first
        );
        let mut client_key = sign(&self.verifier.stored_key, exchanged.as_bytes());
        for (key, proof) in client_key.iter_mut().zip(proof) {
            *key ^= proof;
        }
        if hash(&client_key) != self.verifier.stored_key {
            return Err(Failure::Password);
        }
        let signature = sign(&self.verifier.server_key, exchanged.as_bytes());
        Ok(format!("v={}", BASE64_STANDARD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of <https://www.rfc-editor.org/rfc/rfc7677#section-3>.
    #[test]
    fn the_exchange_of_the_rfc() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let mut salted = Key::default();
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            &salt,
            b"pencil",
            &mut salted,
        );
        let verifier = Verifier {
            iterations: ITERATIONS,
            salt,
            stored_key: hash(&sign(&salted, b"Client Key")),
            server_key: sign(&salted, b"Server Key"),
        };
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let exchange = Exchange::begin_with(verifier, first, server_nonce).unwrap();
        assert_eq!(
            exchange.server_first(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(
            exchange.finish(last.as_bytes()).unwrap(),
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let wrong = last.replace("dHzb", "dHzc");
        assert_eq!(exchange.finish(wrong.as_bytes()), Err(Failure::Password));
        let other_nonce = last.replace("r=rOpr", "r=rOps");
        assert!(matches!(
            exchange.finish(other_nonce.as_bytes()),
            Err(Failure::Protocol(_))
        ));
    }

    #[test]
    fn verifiers_keep_their_text() {
        let verifier = Verifier::of_password("pass word");
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        assert_eq!(format!("{verifier:?}"), "Verifier(…)");
        for wrong in ["", "md5abc", "SCRAM-SHA-256$0:c2FsdA==$a:b"] {
            assert!(wrong.parse::<Verifier>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_has_one_salt() {
        let salt = |name| Verifier::of_unknown(name, b"key").salt;
        assert_eq!(salt("a"), salt("a"));
        assert_ne!(salt("a"), salt("b"));
    }

    #[test]
    fn malformed_messages_are_refused() {
        for message in [
            &b""[..],
            b"n,,",
            b"n,,n=a",
            b"p=tls-unique,,n=a,r=b",
            b"n,a=x,n=a,r=b",
            b"n,,n=a,r=",
            b"\xff",
        ] {
            let begun = Exchange::begin(Verifier::of_password("p"), message);
            assert!(matches!(begun, Err(Failure::Protocol(_))), "{message:?}");
        }
    }
}
