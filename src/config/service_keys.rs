//! The settings of how work is handed out, of the log and of telemetry, with what the schema says
//! of them.

use crate::settings::{SettingKey, ValueKind};

/// `[dispatch]`.
pub(crate) const DISPATCH: &[SettingKey] = &[
    SettingKey {
        name: "mode",
        kind: ValueKind::OneOf(&["inline", "queue"]),
        doc: "Who does the work under the Functions host: the process that the timer or a request \
            calls, or `IngestQueue`, on as many instances as it takes. Default: `queue` in Azure, \
            else `inline`.",
    },
    SettingKey {
        name: "queue",
        kind: ValueKind::Text,
        doc: "Name of the work queue. Default: the environment's INGEST_QUEUE, else \
            \"blobferry-work\".",
    },
    SettingKey {
        name: "connection",
        kind: ValueKind::Text,
        doc: "The app setting that tells where the queue is, as in `IngestQueue/function.json`. \
            Default \"AzureWebJobsStorage\".",
    },
    SettingKey {
        name: "piece_files",
        kind: ValueKind::Integer { min: 1, max: 100_000 },
        doc: "Files of one piece of work, at most. Default 1000.",
    },
    SettingKey {
        name: "piece_bytes",
        kind: ValueKind::Size,
        doc: "Bytes of one piece of work, at most, unless one file has more. Default \"2 GiB\".",
    },
];

/// `[log]`.
pub(crate) const LOG: &[SettingKey] = &[
    SettingKey {
        name: "level",
        kind: ValueKind::OneOf(&["error", "warn", "info", "debug", "trace"]),
        doc: "How much is logged. Default `info`.",
    },
    SettingKey {
        name: "format",
        kind: ValueKind::OneOf(&["text", "json"]),
        doc: "How log lines look. Default `text`, but `json` on a console that is no terminal.",
    },
    SettingKey {
        name: "files",
        kind: ValueKind::Flag,
        doc: "Whether log files are written. Default true, except under the Functions host.",
    },
    SettingKey {
        name: "monitor",
        kind: ValueKind::Text,
        doc: "File for everything, relative to this file. Default \"log/monitor.log\".",
    },
    SettingKey {
        name: "errors",
        kind: ValueKind::Text,
        doc: "File for errors and warnings, relative to this file. Default \"log/error.log\".",
    },
    SettingKey {
        name: "rotation",
        kind: ValueKind::OneOf(&["daily", "hourly", "never"]),
        doc: "When a new log file is begun; the old one's name then ends in the time. Default \
            `daily`.",
    },
    SettingKey {
        name: "keep",
        kind: ValueKind::Integer { min: 1, max: 10_000 },
        doc: "How many rotated log files are kept. Default 14.",
    },
];

/// `[telemetry]`.
pub(crate) const TELEMETRY: &[SettingKey] = &[
    SettingKey {
        name: "export",
        kind: ValueKind::OneOf(&["auto", "application-insights", "otlp", "off"]),
        doc: "Who is told of runs. Default `auto`: Application Insights if \
            APPLICATIONINSIGHTS_CONNECTION_STRING is set, else the OTLP endpoint if there is one.",
    },
    SettingKey {
        name: "otlp_endpoint",
        kind: ValueKind::Text,
        doc: "URL that takes OTLP over HTTP, without its `/v1/…`, as \"http://localhost:4318\". \
            Default: the environment's OTEL_EXPORTER_OTLP_ENDPOINT.",
    },
    SettingKey {
        name: "otlp_headers",
        kind: ValueKind::Secret,
        doc: "Headers for it, as \"name=value,name=value\", values percent-encoded. Default: the \
            environment's OTEL_EXPORTER_OTLP_HEADERS.",
    },
    SettingKey {
        name: "sample_percent",
        kind: ValueKind::Integer { min: 1, max: 100 },
        doc: "Of a hundred calls to servers that went well, so many are sent: 1, 2, 4, 5, 10, 20, \
            25, 50 or 100. Runs, failures, messages and measurements are always sent. Default 100.",
    },
];
