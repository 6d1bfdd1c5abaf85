//! What manifests say of blobs, in 48 bytes each: under this name, this content of this version.
//! Pure.

use crate::audit::records::{Hash, hash};
use crate::model::{BlobName, Md5};

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// A line of a run's manifest, of a file as it came.
    Line,
    /// The manifest of an archive, of a member.
    Archive,
}

/// That a blob holds this content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditClaim {
    name: Hash,
    /// The version of the file, or of the archive.
    pub version: Hash,
    proof: u64,
    /// The manifest that says so, by its place in the list of all.
    pub from: u32,
    /// What kind of manifest it is.
    pub says: Says,
    /// A blob of this name was listed, and was judged.
    pub met: bool,
}

impl AuditClaim {
    /// Whether a blob of this size and MD5 is what is claimed.
    pub fn holds(&self, size: u64, md5: Option<&Md5>) -> bool {
        md5.is_some_and(|md5| proof(size, md5) == self.proof)
    }

    /// Whether it is about the blob `name`.
    pub(crate) fn is_about(&self, name: &str) -> bool {
        self.name == name_hash(name)
    }
}

/// What stands for a blob's name.
pub(crate) fn name_hash(name: &str) -> Hash {
    hash(&[name.as_bytes()])
}

fn proof(size: u64, md5: &Md5) -> u64 {
    let hash = hash(&[&size.to_be_bytes(), md5]);
    u64::from_be_bytes(hash[..8].try_into().expect("eight of sixteen bytes"))
}

/// Every claim, and who makes it.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    all: Vec<AuditClaim>,
    /// The manifests, by their places.
    pub manifests: Vec<BlobName>,
}

impl Claims {
    /// A place for a manifest that makes claims.
    pub fn manifest(&mut self, name: BlobName) -> u32 {
        self.manifests.push(name);
        u32::try_from(self.manifests.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds that the blob `name` has this content.
    pub fn add(
        &mut self,
        name: &str,
        version: Hash,
        (size, md5): (u64, &Md5),
        from: u32,
        says: Says,
    ) {
        self.all.push(AuditClaim {
            name: name_hash(name),
            version,
            proof: proof(size, md5),
            from,
            says,
            met: false,
        });
    }

    /// To be called when all claims are added.
    pub fn finish(&mut self) {
        let key = |claim: &AuditClaim| (claim.name, claim.version, claim.proof);
        self.all.sort_unstable_by_key(key);
        // Said twice, it is to be shown once.
        self.all.dedup_by(|a, b| key(a) == key(b) && a.says == b.says);
        self.all.shrink_to_fit();
    }

    /// The claims about the blob with this [`name_hash`].
    pub fn about(&mut self, name: &Hash) -> &mut [AuditClaim] {
        let from = self.all.partition_point(|claim| claim.name < *name);
        let to = from + self.all[from..].partition_point(|claim| claim.name == *name);
        &mut self.all[from..to]
    }

    /// Forgets which were met.
    pub(crate) fn unmark(&mut self) {
        self.all.iter_mut().for_each(|claim| claim.met = false);
    }

    /// The claims about blobs that were not there.
    pub fn unmet(&self) -> impl Iterator<Item = &AuditClaim> {
        self.all.iter().filter(|claim| !claim.met)
    }
}
