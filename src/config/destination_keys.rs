//! The settings of a place for blobs, `[destination]`, `[destinations.NAME]`, `[state]`, and those
//! of the identities that reach it and key vaults (`[keyvault]`).

use crate::settings::{SettingKey, ValueKind};

/// The kinds of identities.
const IDENTITIES: ValueKind =
    ValueKind::OneOf(&["managed", "workload", "service-principal", "cli"]);
const CLIENT_ID: SettingKey = SettingKey {
    name: "client_id",
    kind: ValueKind::Text,
    doc: "Client id of a user-assigned identity or of an application. Default: the \
        environment's AZURE_CLIENT_ID, if set.",
};
const OBJECT_ID: SettingKey = SettingKey {
    name: "object_id",
    kind: ValueKind::Text,
    doc: "Object id of a user-assigned identity, instead of `client_id`.",
};
const RESOURCE_ID: SettingKey = SettingKey {
    name: "resource_id",
    kind: ValueKind::Text,
    doc: "Resource id of a user-assigned identity, `/subscriptions/…`, instead of `client_id`.",
};
const TENANT: SettingKey = SettingKey {
    name: "tenant",
    kind: ValueKind::Text,
    doc: "Directory of an application. Default: the environment's AZURE_TENANT_ID.",
};
const CLIENT_SECRET: SettingKey = SettingKey {
    name: "client_secret",
    kind: ValueKind::Secret,
    doc: "Secret of an application. Default: the environment's AZURE_CLIENT_SECRET, if set.",
};
const CLIENT_CERTIFICATE_FILE: SettingKey = SettingKey {
    name: "client_certificate_file",
    kind: ValueKind::Text,
    doc: "Certificate of an application with its RSA key, PEM, relative to this file. Default: \
        the environment's AZURE_CLIENT_CERTIFICATE_PATH, if set.",
};

/// `[keyvault]`.
pub(crate) const KEYVAULT: &[SettingKey] = &[
    SettingKey {
        name: "identity",
        kind: IDENTITIES,
        doc: "Who reads secrets for `{ keyvault = \"https://…\" }`: a managed identity, a \
            Kubernetes workload, an application with a secret or a certificate, or whoever is \
            logged in with `az login`. Default `managed`; without this table, the identity of \
            `[destination]`.",
    },
    CLIENT_ID,
    OBJECT_ID,
    RESOURCE_ID,
    TENANT,
    CLIENT_SECRET,
    CLIENT_CERTIFICATE_FILE,
    SettingKey {
        name: "ca_file",
        kind: ValueKind::Text,
        doc: "Authorities to trust beside the machine's own, PEM, relative to this file: where a \
            firewall opens TLS on the way to key vaults.",
    },
];

/// `[destination]`.
pub(crate) const DESTINATION: &[SettingKey] = &[
    SettingKey {
        name: "connection_string",
        kind: ValueKind::Secret,
        doc: "Connection string of the storage account; `UseDevelopmentStorage=true` is Azurite.",
    },
    SettingKey {
        name: "account",
        kind: ValueKind::Text,
        doc: "Name of the storage account, reached by an identity or with `sas`.",
    },
    SettingKey {
        name: "endpoint",
        kind: ValueKind::Text,
        doc: "URL of the blob service, instead of `account`.",
    },
    SettingKey {
        name: "identity",
        kind: IDENTITIES,
        doc: "Who we are to the account: a managed identity, a Kubernetes workload, an application \
            with a secret or a certificate, or whoever is logged in with `az login`. Default \
            `managed`.",
    },
    CLIENT_ID,
    OBJECT_ID,
    RESOURCE_ID,
    TENANT,
    CLIENT_SECRET,
    CLIENT_CERTIFICATE_FILE,
    SettingKey {
        name: "ca_file",
        kind: ValueKind::Text,
        doc: "Authorities to trust beside the machine's own, PEM, relative to this file: where a \
            firewall opens TLS on the way to storage.",
    },
    SettingKey {
        name: "sas",
        kind: ValueKind::Secret,
        doc: "Shared access signature with the rights to read, add, create, write, delete and \
            list.",
    },
    SettingKey { name: "container", kind: ValueKind::Text, doc: "Container that blobs go to." },
    SettingKey {
        name: "create_container",
        kind: ValueKind::Flag,
        doc: "Whether a missing container is created. Default true.",
    },
    SettingKey {
        name: "api_version",
        kind: ValueKind::Text,
        doc: "`x-ms-version` to ask for, for services that do not know the newest.",
    },
    SettingKey {
        name: "folder",
        kind: ValueKind::Text,
        doc: "A local folder instead of Azure, relative to this file.",
    },
];
