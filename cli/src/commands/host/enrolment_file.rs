//! The file that a host joins with: written before anything is created in the cluster, so that a path that cannot be
//! written leaves no identity without a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use d8_agent::{cluster::Token, enrolment::Enrolment};
use d8_crds::values::host_name::HostName;

use crate::{
    args::EnrolmentFileArgs,
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// A place for the file.
pub(super) struct EnrolmentFile<'a> {
    host: &'a HostName,
    path: PathBuf,
    server: Option<&'a str>,
}

impl<'a> EnrolmentFile<'a> {
    /// Checks that the file can be created.
    ///
    /// # Errors
    /// It exists, or its directory does not.
    pub(super) fn plan(host: &'a HostName, args: &'a EnrolmentFileArgs) -> Result<Self, Failure> {
        let path = args.path.clone().unwrap_or_else(|| PathBuf::from(format!("{host}.d8host")));
        let shown = path.display();
        if fs::symlink_metadata(&path).is_ok() {
            return Err(Failure::new(Code::Failed, format!("{shown} exists")).advise(
                "a file that may have the token of a host is not replaced",
                "name another file with `-f FILE`",
            ));
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(Failure::new(Code::Failed, format!("{} is not a directory", directory.display()))
                .advise("the file cannot be written there", "name another file with `-f FILE`"));
        }
        Ok(Self { host, path, server: args.server.as_deref() })
    }

    /// Writes the file, and prints what to do with it.
    ///
    /// # Errors
    /// The file cannot be written. The token is lost; the host is enrolled.
    pub(super) async fn write(self, context: &Context, token: Token) -> Result<(), Failure> {
        let access = &context.cluster().await?.access;
        let Self { host, path, server } = self;
        let enrolment = Enrolment {
            host: host.clone(),
            cluster: access.cluster_name(),
            server: server.map_or_else(|| access.server(), str::to_owned),
            certificate_authority: access.certificate_authority(),
            tls_server_name: access.config.tls_server_name.clone(),
            token: token.secret,
            expires: token.expires,
        };
        enrolment.write(&path).map_err(|error| {
            Failure::new(Code::Failed, format!("failed to write {}", path.display()))
                .caused_by(&error)
                .advise("the host is enrolled, but its token is lost", format!("`d8 host rotate {host} -f FILE`"))
        })?;
        if is_loopback(&enrolment.server) {
            output::warn(format!(
                "{} is an address of this machine only; name the one for the host with `--server URL`",
                enrolment.server
            ));
        }
        output::print(format!("Wrote {}, which can be used until {:.0}.", path.display(), enrolment.expires));
        context.printer.note(format!(
            "copy it to {host} over a secret channel, and run there as root: `d8 agent join {}`",
            path.display()
        ));
        Ok(())
    }
}

/// Returns whether only the machine itself reaches a URL.
fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|prefix| host.starts_with(prefix))
}
