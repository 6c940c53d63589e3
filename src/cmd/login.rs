//! `login`: proves who we are to a registry, and keeps what proves it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};

use super::Context;
use super::credentials::{ask, ask_hidden, auth_files, can_ask, hide_arguments, password_from_stdin, server};
use super::error::{WithCode, with_code};
use super::registry_options::{Hidden, RegistryOptions};
use crate::spec::registries::Domain;
use crate::store::registry::auth::{AuthFiles, Credentials, Given, Kept, Keyring};
use crate::store::registry::{self, Patience, Session};

/// Log in to a registry
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Keep credentials in this file (REGISTRY_AUTH_FILE)
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Trust the *.crt files in this directory, and show the registry its *.cert with its *.key
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Print the user name that is logged in, and do nothing else
    #[arg(long)]
    get_login: bool,
    /// Password; better given on standard input
    #[arg(short, long, value_name = "PASSWORD", value_parser = Hidden::take)]
    password: Option<Hidden>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Verify the registry's certificate; =false also permits plain http
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = super::go_bool)]
    tls_verify: Option<bool>,
    /// User name
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// Say where the credentials are kept
    #[arg(short, long)]
    verbose: bool,
    /// Registry, docker.io unless configured; with a path behind it only for repositories there
    #[arg(value_name = "REGISTRY")]
    server: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if args.password.is_some() {
        hide_arguments("login");
    }
    let (registry, repository) = server(context, args.server.as_deref())?;
    let files = auth_files(args.authfile.as_deref());
    if args.get_login {
        return get_login(&files, &registry, &repository);
    }
    let credentials = match args.typed()? {
        Some(credentials) => credentials,
        None => match known(&files, &registry, &repository) {
            Some(known) if prove(&args, context, &registry, &repository, &known).is_ok() => {
                eprint_line("Authenticating with existing credentials...");
                super::say("Login Succeeded")?;
                return Ok(ExitCode::SUCCESS);
            }
            _ => args.asked(&registry)?,
        },
    };
    if args.password.is_some() {
        eprint_line("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    prove(&args, context, &registry, &repository, &credentials)?;
    let kept = files.put(&registry, &repository, &credentials)?;
    tell(&kept, args.verbose);
    super::say("Login Succeeded")?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// What the command line and standard input give; None when there is more to ask.
    fn typed(&self) -> Result<Option<Credentials>> {
        let password = match (&self.password, self.password_stdin) {
            (Some(_), true) => bail!("conflicting options: cannot specify both --password and --password-stdin"),
            (None, true) if self.username.is_none() => {
                bail!("the --password-stdin option requires --username to be set")
            }
            (None, true) => Some(password_from_stdin()?),
            (Some(password), false) => Some(password.0.clone()),
            (None, false) => None,
        };
        let Some((user, password)) = self.username.clone().zip(password) else { return Ok(None) };
        checked(user, password).map(Some)
    }

    /// The same with questions.
    fn asked(&self, registry: &Domain) -> Result<Credentials> {
        if !can_ask() {
            bail!("cannot perform an interactive login from a non TTY device: see --password-stdin");
        }
        let user = match &self.username {
            Some(user) => user.clone(),
            None => ask(&format!("Username for {registry}: "))?,
        };
        let password = match &self.password {
            Some(password) => password.0.clone(),
            None => ask_hidden("Password: ")?,
        };
        checked(user, password)
    }
}

fn checked(user: String, password: String) -> Result<Credentials> {
    if user.is_empty() {
        bail!("a non-null username is required");
    }
    if user.contains(':') {
        bail!("a user name has no colon");
    }
    if password.is_empty() {
        bail!("password is empty");
    }
    Ok(Credentials::Basic { user, password })
}

/// Kept credentials; that they cannot be read is said when the new ones are written.
fn known(files: &AuthFiles, registry: &Domain, repository: &str) -> Option<Credentials> {
    files.credentials(registry, repository).ok().flatten()
}

fn get_login(files: &AuthFiles, registry: &Domain, repository: &str) -> Result<ExitCode> {
    match files.credentials(registry, repository).or_exit(125)? {
        Some(Credentials::Basic { user, .. }) => super::say(&user)?,
        Some(Credentials::IdentityToken(_)) => super::say("<token>")?,
        None => return Err(with_code(anyhow!("not logged into {registry}"), 125)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the registry whether it takes the credentials.
fn prove(args: &Args, context: &Context, registry: &Domain, repository: &str, given: &Credentials) -> Result<()> {
    let options =
        RegistryOptions { cert_dir: args.cert_dir.clone(), tls_verify: args.tls_verify, ..RegistryOptions::default() };
    let mut reach = options.reach(context, registry.as_str())?;
    reach.keyring = std::sync::Arc::new(Given { registry: registry.clone(), credentials: given.clone(), rest: None });
    let patience = Patience { tries: 3, ..Patience::default() };
    let work = async {
        let session = Session::connect(registry.as_str(), repository, &reach.access(), patience).await?;
        session.login().await
    };
    registry::block_on(work)?.with_context(|| format!("log in to {registry}"))
}

/// docker's warning. The path is the user's own.
fn tell(kept: &Kept, verbose: bool) {
    match kept {
        Kept::File(path) => {
            let path = path.display();
            eprint_line(&format!(
                "\nWARNING! Your credentials are stored unencrypted in '{path}'.\nConfigure a credential helper to \
                 remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n"
            ));
            if verbose {
                eprint_line(&format!("Used: {path}"));
            }
        }
        Kept::Helper(name) if verbose => eprint_line(&format!("Used: docker-credential-{name}")),
        Kept::Helper(_) => {}
    }
}

fn eprint_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}
