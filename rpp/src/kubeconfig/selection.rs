//! Selects a context, and turns its cluster and its user into client settings. Reads the files that they name.
//!
//! The rules are those of client-go (`clientcmd/validation.go`, `clientcmd/client_config.go`): this
//! module refuses the same fields and has the same precedence.

use std::path::{Path, PathBuf};

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use d8_crds::values::{digest::Digest, limits::CA_FILE_BYTES, text::printable};
use http::Uri;
use kube::{
    client::ConfigExt as _,
    config::{AuthInfo, AuthProviderConfig, ExecAuthCluster},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::json;

use super::{
    address::{proxy_url, server_url},
    credential::{Credential, Source, bearer, header},
    document::{Cluster, Context, Exec, Kubeconfig, NamedCluster, NamedContext, NamedUser, User},
    exec::{ApiVersion, ExecPlugin, InteractiveMode},
};

use crate::{
    error::{CredentialError, KubeconfigError},
    file::read_regular,
};

/// Go's decoder ignores bits that pad the last byte.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
/// Extension of a cluster with the settings of a credential plugin.
const PLUGIN_EXTENSION: &str = "client.authentication.k8s.io/exec";

/// The cluster and the user of a context, with their names.
pub(super) struct Selection {
    cluster_name: String,
    cluster: Cluster,
    /// The file that has the cluster.
    cluster_file: PathBuf,
    user_name: String,
    user: User,
    /// The file that has the user.
    user_file: PathBuf,
    namespace: String,
}

/// Why one field of a cluster or a user cannot be used.
type Checked<T> = Result<T, String>;

/// What is wrong with a user.
enum UserProblem {
    /// A field. The text says which one, and why it cannot be used.
    Field(String),
    /// The token or the password.
    Credential(CredentialError),
}

impl From<String> for UserProblem {
    fn from(why: String) -> Self {
        Self::Field(why)
    }
}

impl From<CredentialError> for UserProblem {
    fn from(error: CredentialError) -> Self {
        Self::Credential(error)
    }
}

impl Selection {
    /// Selects a context; without a name, the current one.
    pub(super) fn of(document: Kubeconfig, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let name = context.filter(|name| !name.is_empty()).unwrap_or(&document.current_context).to_owned();
        if name.is_empty() {
            return Err(KubeconfigError::NoCurrentContext);
        }
        let found = document.contexts.into_iter().find(|entry| entry.name == name);
        let Some(NamedContext { context, file: context_file, .. }) = found else {
            return Err(KubeconfigError::NoContext { name: printable(&name).into_owned(), files: document.files });
        };
        let Context { cluster: cluster_name, user: user_name, namespace } = context;
        let cluster = document.clusters.into_iter().find(|entry| entry.name == cluster_name);
        let Some(NamedCluster { cluster, file: cluster_file, .. }) = cluster else {
            let why = format!("it does not exist, and context {:?} names it", printable(&name));
            let name = printable(&cluster_name).into_owned();
            return Err(KubeconfigError::Cluster { name, file: context_file, why });
        };
        // kubectl accepts a user that does not exist, as an anonymous one.
        let user = document.users.into_iter().find(|entry| entry.name == user_name);
        let NamedUser { user, file: user_file, .. } =
            user.unwrap_or_else(|| NamedUser { file: context_file, ..NamedUser::default() });
        Ok(Self { cluster_name, cluster, cluster_file, user_name, user, user_file, namespace })
    }

    /// Returns the settings of the connection, and the credential.
    pub(super) fn settings(&self) -> Result<(kube::Config, Credential), KubeconfigError> {
        let (cluster, user) = (printable(&self.cluster_name), printable(&self.user_name));
        let of_cluster =
            |why| KubeconfigError::Cluster { name: cluster.to_string(), file: self.cluster_file.clone(), why };
        let of_user = |why| KubeconfigError::User { name: user.to_string(), file: self.user_file.clone(), why };
        let authorities = authorities(&self.cluster).map_err(of_cluster)?;
        check_user(&self.user).map_err(of_user)?;
        let certificate = client_certificate(&self.user).map_err(of_user)?;
        let mut config = kube::Config::new(server_url(&self.cluster.server).map_err(of_cluster)?);
        config.proxy_url = proxy_url(&self.cluster.proxy_url).map_err(of_cluster)?;
        config.root_cert = authorities.as_ref().map(|found| found.iter().map(|der| der.to_vec()).collect());
        config.accept_invalid_certs = self.cluster.insecure_skip_tls_verify;
        config.tls_server_name = set(&self.cluster.tls_server_name);
        if let Some(namespace) = set(&self.namespace) {
            config.default_namespace = namespace;
        }
        let credential = self.credential(certificate.is_some()).map_err(|problem| match problem {
            UserProblem::Field(why) => of_user(why),
            UserProblem::Credential(error) => {
                KubeconfigError::Credential { name: user.to_string(), file: self.user_file.clone(), error }
            }
        })?;
        config.auth_info = connection_identity(&self.user, certificate);
        // Finds a header that cannot be sent before the first request.
        config
            .extra_headers_layer()
            .map_err(|_| of_user("`as` and its fields cannot be sent as headers".to_owned()))?;
        Ok((config, Credential::new(credential)))
    }

    /// Returns the name of the cluster.
    pub(super) fn cluster_name(&self) -> &str {
        &self.cluster_name
    }

    /// Returns what identifies the user among those of all kubeconfigs. Tokens that are renewed into the kubeconfig or
    /// by a program do not change it.
    pub(super) fn user_key(&self) -> Digest {
        let user = &self.user;
        let provider = user.auth_provider.as_ref().map(|provider| {
            let [issuer, client] = ["idp-issuer-url", "client-id"].map(|field| provider.config.get(field));
            json!([provider.name, issuer, client])
        });
        let exec = user.exec.as_ref().map(|exec| {
            let env: Vec<_> = exec.env.iter().map(|variable| (&variable.name, &variable.value)).collect();
            json!([exec.command, exec.args, env])
        });
        let parts = json!([
            self.user_name,
            [user.impersonate, user.as_uid, json!(user.as_groups), json!(user.as_user_extra)],
            [user.username, user.token, user.token_file, user.client_certificate, user.client_certificate_data],
            provider,
            exec,
        ]);
        Digest::of(parts.to_string().as_bytes())
    }

    /// Returns the origin of the credential. A token wins over a password, and these and a certificate over a plugin.
    fn credential(&self, has_certificate: bool) -> Result<Source, UserProblem> {
        let user = &self.user;
        let inline = |token: &str| bearer(token, "its token");
        Ok(match (set(&user.token), set(&user.token_file), &user.auth_provider, &user.exec) {
            (inline_token, Some(path), ..) => Source::file(&path, inline_token.as_deref().map(inline).transpose()?),
            (Some(token), None, ..) => Source::Fixed(inline(&token)?),
            _ if !user.username.is_empty() => {
                let pair = STANDARD.encode(format!("{}:{}", user.username, user.password));
                Source::Fixed(header("Basic", &pair, "its password")?)
            }
            (.., Some(provider), _) => oidc(&provider.name, &provider.config)?,
            (.., Some(exec)) if !has_certificate => Source::exec(self.plugin(exec)?),
            _ if has_certificate => Source::Certificate,
            _ => Source::Anonymous,
        })
    }

    fn plugin(&self, exec: &Exec) -> Checked<ExecPlugin> {
        let api_version = ApiVersion::parse(&exec.api_version).ok_or_else(|| {
            format!(
                "exec.apiVersion is {:?}; client.authentication.k8s.io/v1 and v1beta1 are supported",
                printable(&exec.api_version)
            )
        })?;
        let mode = match (exec.interactive_mode.as_str(), api_version) {
            ("Never", _) => InteractiveMode::Never,
            ("IfAvailable", _) | ("", ApiVersion::V1Beta1) => InteractiveMode::IfAvailable,
            ("Always", _) => InteractiveMode::Always,
            ("", ApiVersion::V1) => {
                return Err("exec.interactiveMode is not set; it must be Never, IfAvailable or Always".to_owned());
            }
            (other, _) => {
                return Err(format!(
                    "exec.interactiveMode is {:?}; it must be Never, IfAvailable or Always",
                    printable(other)
                ));
            }
        };
        if exec.command.is_empty() {
            return Err("exec.command is not set".to_owned());
        }
        if exec.env.iter().any(|variable| variable.name.is_empty()) {
            return Err("a variable in exec.env has no name".to_owned());
        }
        Ok(ExecPlugin {
            command: exec.command.clone(),
            args: exec.args.clone(),
            env: exec.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
            api_version,
            install_hint: exec.install_hint.clone(),
            mode,
            cluster: if exec.provide_cluster_info { Some(plugin_cluster(&self.cluster)?) } else { None },
        })
    }
}

/// Returns a text that is not empty.
fn set(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Checks that a user names one way to authenticate, as kubectl does.
fn check_user(user: &User) -> Checked<()> {
    let has_token = !user.token.is_empty() || !user.token_file.is_empty();
    if has_token && !(user.username.is_empty() && user.password.is_empty()) {
        return Err("it has both a token and a password; keep one of them".to_owned());
    }
    if user.exec.is_some() && user.auth_provider.is_some() {
        return Err("it has both `exec` and `auth-provider`; keep one of them".to_owned());
    }
    let more = !user.as_uid.is_empty() || !user.as_groups.is_empty() || !user.as_user_extra.is_empty();
    if more && user.impersonate.is_empty() {
        return Err("`as-uid`, `as-groups` and `as-user-extra` need `as`".to_owned());
    }
    Ok(())
}

/// Returns the identity that belongs to the connection: the client certificate and the impersonated user.
fn connection_identity(user: &User, certificate: Option<(Vec<u8>, Vec<u8>)>) -> AuthInfo {
    let (certificate, key) = certificate.unzip();
    AuthInfo {
        client_certificate_data: certificate.map(|pem| STANDARD.encode(pem)),
        client_key_data: key.map(|pem| STANDARD.encode(pem).into()),
        impersonate: set(&user.impersonate),
        impersonate_uid: set(&user.as_uid),
        impersonate_groups: Some(user.as_groups.clone()).filter(|groups| !groups.is_empty()),
        impersonate_user_extra: Some(user.as_user_extra.clone().into_iter().collect())
            .filter(|_| !user.as_user_extra.is_empty()),
        ..AuthInfo::default()
    }
}

/// Returns the authorities for the server's certificate, `None` for those of the system.
fn authorities(cluster: &Cluster) -> Checked<Option<Vec<CertificateDer<'static>>>> {
    let Some(pem) =
        data_or_file("certificate-authority", &cluster.certificate_authority_data, &cluster.certificate_authority)?
    else {
        return Ok(None);
    };
    if cluster.insecure_skip_tls_verify {
        return Err("it has a certificate authority and `insecure-skip-tls-verify`; keep one of them".to_owned());
    }
    let usable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).filter(usable).collect();
    if found.is_empty() {
        return Err("its certificate authority contains no usable certificate; it must be PEM, and base64 of PEM in `certificate-authority-data`".to_owned());
    }
    Ok(Some(found))
}

/// Returns the client certificate and its key, PEM.
fn client_certificate(user: &User) -> Checked<Option<(Vec<u8>, Vec<u8>)>> {
    let certificate = data_or_file("client-certificate", &user.client_certificate_data, &user.client_certificate)?;
    let key = data_or_file("client-key", &user.client_key_data, &user.client_key)?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (Some(_), None) => Err("it has a client certificate without `client-key`".to_owned()),
        // As kubectl, which looks at a key only if there is a certificate.
        (None, _) => Ok(None),
    }
}

/// Returns the content of field `name-data`, or of the file that field `name` names.
fn data_or_file(name: &str, data: &str, file: &str) -> Checked<Option<Vec<u8>>> {
    match (data.is_empty(), file.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Err(format!("`{name}` and `{name}-data` are both set; keep one of them")),
        (false, true) => {
            // Go's decoder ignores line ends.
            let data: String = data.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            let bytes = BASE64.decode(data).map_err(|error| format!("`{name}-data` is not base64: {error}"))?;
            Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
        }
        (true, false) => {
            let bytes = read_regular(Path::new(file), CA_FILE_BYTES)
                .map_err(|error| format!("`{name}` {}: {error}", printable(file)))?;
            Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
        }
    }
}

/// Returns the token source of an OIDC provider. kubectl supports no other `auth-provider` any more.
fn oidc(name: &str, config: &std::collections::BTreeMap<String, String>) -> Checked<Source> {
    if name != "oidc" {
        return Err(format!("auth-provider {:?} is not supported; use a credential plugin (`exec`)", printable(name)));
    }
    let provider = AuthProviderConfig {
        name: name.to_owned(),
        config: config.clone().into_iter().collect(),
        ..AuthProviderConfig::default()
    };
    let mut only_provider = kube::Config::new(Uri::from_static("https://localhost"));
    only_provider.auth_info.auth_provider = Some(provider);
    match only_provider.auth_layer() {
        Ok(Some(layer)) => Ok(Source::Oidc(layer)),
        Ok(None) => Ok(Source::Anonymous),
        Err(error) => Err(crate::text::error_chain(&error)),
    }
}

/// Returns what a plugin learns about the cluster.
fn plugin_cluster(cluster: &Cluster) -> Checked<ExecAuthCluster> {
    let authority =
        data_or_file("certificate-authority", &cluster.certificate_authority_data, &cluster.certificate_authority)?;
    Ok(ExecAuthCluster {
        server: set(&cluster.server),
        insecure_skip_tls_verify: Some(true).filter(|_| cluster.insecure_skip_tls_verify),
        certificate_authority_data: authority,
        proxy_url: set(&cluster.proxy_url),
        tls_server_name: set(&cluster.tls_server_name),
        config: cluster
            .extensions
            .iter()
            .find(|entry| entry.name == PLUGIN_EXTENSION)
            .map(|entry| entry.extension.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_key(name: &str, user: &serde_json::Value) -> Digest {
        let document = json!({
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": name}}],
            "clusters": [{"name": "a", "cluster": {"server": "https://a"}}],
            "users": [{"name": name, "user": user}],
        });
        let document = Kubeconfig::read(document.to_string().as_bytes(), Path::new("/")).unwrap();
        Selection::of(document, None).unwrap_or_else(|error| panic!("{error}")).user_key()
    }

    #[test]
    fn users_are_told_apart_by_who_they_are() {
        let oidc = |client: &str, token: &str| {
            let config = json!({"idp-issuer-url": "https://dex", "client-id": client, "id-token": token});
            json!({"auth-provider": {"name": "oidc", "config": config}})
        };
        let exec = |args: &[&str]| json!({"exec": {"command": "login", "args": args, "apiVersion": "v1"}});
        let users = [
            ("u", json!({})),
            ("v", json!({})),
            ("u", json!({"token": "a"})),
            ("u", json!({"token": "b"})),
            ("u", json!({"tokenFile": "/a"})),
            ("u", json!({"username": "a", "password": "p"})),
            ("u", json!({"token": "a", "as": "b"})),
            ("u", json!({"token": "a", "as": "b", "as-groups": ["c"]})),
            ("u", json!({"client-certificate": "/a"})),
            ("u", exec(&["a"])),
            ("u", exec(&["b"])),
            ("u", oidc("a", "t")),
            ("u", oidc("b", "t")),
        ];
        let keys: std::collections::BTreeSet<_> = users.iter().map(|(name, user)| user_key(name, user)).collect();
        assert_eq!(keys.len(), users.len());
        assert_eq!(user_key("u", &oidc("a", "t")), user_key("u", &oidc("a", "renewed")));
    }
}
