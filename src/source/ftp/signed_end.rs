//! Encrypted listings that end without TLS's own sign of the end (`close_notify`): whoever stands
//! on the way may have cut them, and no size tells. Some servers never give the sign.

use std::sync::atomic::Ordering;

use super::client::FtpClient;
use super::fault::Scene;
use super::lines::{self, Dialect};
use super::transfer::{FtpOpened, FtpTransfer};
use crate::model::RemotePath;
use crate::model::failure::Class;
use crate::source::contract::{Listed, SourceError};

/// Reads the answer to `command`, a listing of `dir`, to its end; how many lines there were. One
/// that ends without the sign is an error where this server has given the sign.
pub(super) async fn read_whole(
    client: &mut FtpClient,
    data: FtpTransfer,
    scene: Scene<'_>,
    dir: &RemotePath,
    (command, dialect): (&[u8], Dialect),
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<u64, SourceError> {
    let read = lines::read(client, data, scene, dir, dialect, visit).await?;
    if read.is_unsigned && gives_the_sign(client, scene, dir, command).await? {
        let why = "the encrypted listing ended without TLS's own sign of the end (close_notify), \
            which this server gives: it may have been cut on the way";
        return Err(scene.fault(Class::Truncated, why));
    }
    Ok(read.lines)
}

/// Whether this server ends encrypted listings with the sign. Where none has ended so far, the
/// listing is asked for once more, for its end alone.
async fn gives_the_sign(
    client: &mut FtpClient,
    scene: Scene<'_>,
    dir: &RemotePath,
    command: &[u8],
) -> Result<bool, SourceError> {
    let account = client.account.clone();
    let learned = &account.learned;
    if learned.signs_listings.load(Ordering::Relaxed) {
        return Ok(true);
    }
    if learned.signs_no_listing.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let FtpOpened::Data(again) = client.transfer(scene, command, 0).await? else {
        return Ok(true);
    };
    let again = lines::read(client, *again, scene, dir, Dialect::Names, &mut |_| {}).await?;
    learned.signs_no_listing.store(again.is_unsigned, Ordering::Relaxed);
    Ok(!again.is_unsigned)
}
