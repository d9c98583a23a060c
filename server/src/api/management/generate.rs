//! An artifact made here, from one uploaded file.
use super::artifacts::{check_description, publish, to_the_end, turn, Guarded};
use crate::api::error::{ErrorBody, Fault, Result};
use crate::api::extract::User;
use crate::api::form::{chunk, text, Form};
use crate::app::{App, Shared};
use crate::clock::{self, SECOND};
use crate::make::SingleFile;
use crate::store::Tenant;
use crate::upload::Received;
use axum::extract::multipart::Field;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{header, StatusCode};
use serde::Deserialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Most bytes of the file.
const FILE: u64 = 256 << 20;

/// The fields of the form. The file comes last.
#[derive(Default, ToSchema)]
pub struct GenerateForm {
    name: String,
    description: Option<String>,
    /// Divided by commas.
    device_types_compatible: String,
    /// `single_file`
    #[schema(rename = "type")]
    kind: String,
    /// JSON: `filename`, `dest_dir`, `software_filesystem`, `software_name`, `software_version`.
    args: String,
    #[schema(value_type = String, format = Binary)]
    #[expect(dead_code, reason = "describes the form; it is read as a stream")]
    file: (),
}

#[derive(Deserialize)]
struct Args {
    filename: String,
    dest_dir: String,
    #[serde(default)]
    software_filesystem: String,
    #[serde(default)]
    software_name: String,
    #[serde(default)]
    software_version: String,
}

/// Make an artifact from a file
#[utoipa::path(post, path = "/v1/deployments/artifacts/generate", tag = "artifacts",
    request_body(content = GenerateForm, content_type = "multipart/form-data"),
    responses((status = 201, headers(("Location" = String,))), (status = 400, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub async fn generate(State(app): State<Shared>, user: User, mut form: Form) -> Result<Response> {
    let _turn = turn(&app)?;
    let mut fields = GenerateForm::default();
    while let Some(field) = form.next("file").await? {
        let name = field.name().unwrap_or_default().to_owned();
        let slot = match name.as_str() {
            "name" => &mut fields.name,
            "description" => fields.description.get_or_insert_default(),
            "device_types_compatible" => &mut fields.device_types_compatible,
            "type" => &mut fields.kind,
            "args" => &mut fields.args,
            "file" => {
                let id = make(&app, &user.tenant, fields, field).await?;
                let location = format!("/api/management/v1/deployments/artifacts/{id}");
                return Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response());
            }
            _ => {
                text(field, &name, 4096).await?;
                continue;
            }
        };
        *slot = text(field, &name, 16 << 10).await?;
    }
    Err(Fault::bad_request("the form has no field file"))
}

async fn make(app: &Shared, tenant: &Tenant, form: GenerateForm, field: Field<'_>) -> Result<String> {
    let description = form.description.clone().unwrap_or_default();
    check_description(&description)?;
    let mut single = read(form)?;
    let spool = Spool::new(app)?;
    spool.fill(field).await?;
    single.content.clone_from(&spool.0);
    let id = clock::new_id();
    let (app, tenant) = (app.clone(), tenant.clone());
    to_the_end(async move {
        let received = pack(&app, &tenant, &id, single).await;
        drop(spool);
        publish(&app, &tenant, id, received?, description).await
    })
    .await
}

/// Checks the form.
fn read(form: GenerateForm) -> Result<SingleFile> {
    if form.kind != "single_file" {
        return Err(Fault::bad_request(format!("type: expected single_file, found {}", form.kind)));
    }
    let args: Args = serde_json::from_str(&form.args)
        .map_err(|error| Fault::bad_request(format!("args: not as expected: {error}")))?;
    let types = form.device_types_compatible.split(',').map(|one| one.trim().to_owned());
    let device_types: Vec<String> = types.filter(|one| !one.is_empty()).collect();
    if device_types.is_empty() {
        return Err(Fault::bad_request("device_types_compatible: expected at least one"));
    }
    let name = form.name;
    if name.is_empty() || name.len() > 256 || name.contains(char::is_whitespace) {
        return Err(Fault::bad_request("name: expected 1 to 256 bytes without white space"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-,".contains(&byte);
    if args.filename.is_empty() || args.filename.len() > 80 || !args.filename.bytes().all(plain) {
        return Err(Fault::bad_request("args.filename: expected 1 to 80 letters, digits and ._-,"));
    }
    if ["dest_dir", "filename", "permissions"].contains(&args.filename.as_str()) {
        return Err(Fault::bad_request(format!(
            "args.filename: the module has a {} of its own",
            args.filename
        )));
    }
    if !args.dest_dir.starts_with('/') || args.dest_dir.contains('\n') {
        return Err(Fault::bad_request("args.dest_dir: expected an absolute path"));
    }
    let or = |value: String, other: &str| if value.is_empty() { other.to_owned() } else { value };
    Ok(SingleFile {
        software_filesystem: or(args.software_filesystem, "rootfs-image"),
        software_name: or(args.software_name, "single-file"),
        software_version: or(args.software_version, &name),
        artifact_name: name,
        device_types,
        filename: args.filename,
        dest_dir: args.dest_dir,
        content: PathBuf::new(),
        modified: u64::try_from(clock::now() / SECOND).unwrap_or_default(),
    })
}

/// Writes the artifact, checks and stores it like any other.
async fn pack(app: &App, tenant: &Tenant, id: &str, single: SingleFile) -> Result<Received> {
    let (chunks, mut made) = mpsc::channel::<Bytes>(4);
    let writer = tokio::task::spawn_blocking(move || single.write(&mut ChannelWriter(chunks)));
    let mut upload = Guarded::start(app, tenant, id).await?;
    while let Some(chunk) = made.recv().await {
        upload.write(chunk).await?;
    }
    match writer.await {
        Ok(Ok(())) => upload.finish().await,
        Ok(Err(error)) => Err(Fault::bad_request(format!("the artifact cannot be made: {error}"))),
        Err(_) => Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "the artifact's making was stopped")),
    }
}

/// What is written as chunks of a channel, for a thread that may block.
struct ChannelWriter(mpsc::Sender<Bytes>);

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is gone when this is dropped.
struct Spool(PathBuf);

impl Spool {
    fn new(app: &App) -> Result<Spool> {
        let folder = app.layout().spool();
        crate::files::private_dir(&folder)
            .map_err(|error| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        Ok(Spool(folder.join(clock::new_id())))
    }

    async fn fill(&self, mut field: Field<'_>) -> Result<()> {
        let mut file = tokio::fs::File::create_new(&self.0).await.map_err(|error| broken(&self.0, error))?;
        let mut size = 0;
        while let Some(chunk) = chunk(&mut field).await? {
            size += chunk.len() as u64;
            if size > FILE {
                let message = format!("the file is larger than {FILE} bytes");
                return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            file.write_all(&chunk).await.map_err(|error| broken(&self.0, error))?;
        }
        file.flush().await.map_err(|error| broken(&self.0, error))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn broken(path: &Path, error: io::Error) -> Fault {
    tracing::error!(path = %path.display(), %error, "a file could not be written");
    if error.raw_os_error() == Some(28) {
        return Fault::new(StatusCode::INSUFFICIENT_STORAGE, "the server's disk is full");
    }
    Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}
