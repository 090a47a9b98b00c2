//! `netmode login` and `logout`.

use crate::args::LoginArgs;
use crate::caller::Caller;
use crate::credentials::{Credentials, Kept};
use crate::failure::{Failure, say, warn};
use crate::output::{Output, print};
use netmode_client::Client;
use netmode_container::registry_name;
use netmode_model::image::{LoginRequest, RegistryAuth};
use netmode_model::{Code, Secret};
use std::io::{self, BufRead, IsTerminal, Read, Write};

type Result<T> = std::result::Result<T, Failure>;

/// Longest password that is read, in bytes.
const LONGEST: u64 = 16 * 1024;

fn registry(text: &str) -> Result<String> {
    registry_name(text).map_err(|e| Failure::new(e.code(), e.to_string()))
}

/// `netmode login`: remembered is what the registry accepts.
pub(crate) fn login(client: &Client, args: &LoginArgs, output: Output) -> Result<()> {
    let registry = registry(args.registry.as_deref().unwrap_or_default())?;
    let credentials = Credentials::of(&Caller::this())?;
    let username = username(args)?;
    let password = password(args, &username)?;
    if password.is_empty() {
        return Err(Failure::invalid("the password is empty; give it by --password-stdin or at the terminal"));
    }
    let auth = RegistryAuth { username, password, identity_token: Secret::default() };
    client.login(&LoginRequest { registry: registry.clone(), auth: auth.clone() })?;
    if let Kept::Plainly(path) = credentials.store(&registry, &auth)? {
        let path = path.display();
        warn(&format!("the password stands in {path}, readable for you alone; a credential helper would hide it"));
    }
    if output.quiet { Ok(()) } else { print("Login Succeeded\n") }
}

/// `netmode logout`.
pub(crate) fn logout(text: &str) -> Result<()> {
    let registry = registry(text)?;
    let was_there = Credentials::of(&Caller::this())?.erase(&registry)?;
    let what = if was_there { "Removing login credentials for" } else { "Not logged in to" };
    print(&format!("{what} {registry}\n"))
}

fn username(args: &LoginArgs) -> Result<String> {
    if let Some(name) = args.username.clone().filter(|name| !name.is_empty()) {
        return Ok(name);
    }
    if args.password_stdin || !io::stdin().is_terminal() {
        return Err(Failure::invalid("who logs in? Give --username, and the password by --password-stdin"));
    }
    let mut line = String::new();
    let _ = io::stderr().write_all(b"Username: ");
    io::stdin().lock().read_line(&mut line).map_err(unread)?;
    let name = line.trim();
    if name.is_empty() { Err(Failure::invalid("the name of the user is empty")) } else { Ok(name.into()) }
}

fn password(args: &LoginArgs, username: &str) -> Result<Secret> {
    if let Some(password) = &args.password {
        warn("--password can be seen by everybody on this machine; use --password-stdin");
        return Ok(Secret::new(password));
    }
    if args.password_stdin {
        let mut text = String::new();
        io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text).map_err(unread)?;
        return Ok(Secret::new(text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t))));
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::invalid(format!("the password of {username} is missing; give it by --password-stdin")));
    }
    let password = rpassword::prompt_password("Password: ").map_err(unread)?;
    say("");
    Ok(Secret::new(password))
}

fn unread(error: io::Error) -> Failure {
    Failure::new(Code::State, format!("cannot read from standard input: {error}"))
}
