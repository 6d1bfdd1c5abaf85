//! The settings of how work is handed out, of the log and of telemetry, with what the schema says
//! of them.

use crate::settings::{Key, Kind};

/// `[dispatch]`.
pub const DISPATCH: &[Key] = &[
    Key {
        name: "mode",
        kind: Kind::OneOf(&["inline", "queue"]),
        doc: "Who does the work under the Functions host: the process that the timer or a request \
            calls, or `IngestQueue`, on as many instances as it takes. Default: `queue` in Azure, \
            else `inline`.",
    },
    Key {
        name: "queue",
        kind: Kind::Text,
        doc: "Name of the work queue. Default: the environment's INGEST_QUEUE, else \
            \"blobferry-work\".",
    },
    Key {
        name: "connection",
        kind: Kind::Text,
        doc: "The app setting that tells where the queue is, as in `IngestQueue/function.json`. \
            Default \"AzureWebJobsStorage\".",
    },
    Key {
        name: "piece_files",
        kind: Kind::Integer { min: 1, max: 100_000 },
        doc: "Files of one piece of work, at most. Default 1000.",
    },
    Key {
        name: "piece_bytes",
        kind: Kind::Size,
        doc: "Bytes of one piece of work, at most, unless one file has more. Default \"2 GiB\".",
    },
];

/// `[log]`.
pub const LOG: &[Key] = &[
    Key {
        name: "level",
        kind: Kind::OneOf(&["error", "warn", "info", "debug", "trace"]),
        doc: "How much is logged. Default `info`.",
    },
    Key {
        name: "format",
        kind: Kind::OneOf(&["text", "json"]),
        doc: "How log lines look. Default `text`, but `json` on a console that is no terminal.",
    },
    Key {
        name: "files",
        kind: Kind::Flag,
        doc: "Whether log files are written. Default true, except under the Functions host.",
    },
    Key {
        name: "monitor",
        kind: Kind::Text,
        doc: "File for everything, relative to this file. Default \"log/monitor.log\".",
    },
    Key {
        name: "errors",
        kind: Kind::Text,
        doc: "File for errors and warnings, relative to this file. Default \"log/error.log\".",
    },
    Key {
        name: "rotation",
        kind: Kind::OneOf(&["daily", "hourly", "never"]),
        doc: "When a new log file is begun; the old one's name then ends in the time. Default \
            `daily`.",
    },
    Key {
        name: "keep",
        kind: Kind::Integer { min: 1, max: 10_000 },
        doc: "How many rotated log files are kept. Default 14.",
    },
];

/// `[telemetry]`.
pub const TELEMETRY: &[Key] = &[
    Key {
        name: "export",
        kind: Kind::OneOf(&["auto", "application-insights", "otlp", "off"]),
        doc: "Who is told of runs. Default `auto`: Application Insights if \
            APPLICATIONINSIGHTS_CONNECTION_STRING is set, else the OTLP endpoint if there is one.",
    },
    Key {
        name: "otlp_endpoint",
        kind: Kind::Text,
        doc: "URL that takes OTLP over HTTP, without its `/v1/…`, as \"http://localhost:4318\". \
            Default: the environment's OTEL_EXPORTER_OTLP_ENDPOINT.",
    },
    Key {
        name: "otlp_headers",
        kind: Kind::Secret,
        doc: "Headers for it, as \"name=value,name=value\", values percent-encoded. Default: the \
            environment's OTEL_EXPORTER_OTLP_HEADERS.",
    },
    Key {
        name: "sample_percent",
        kind: Kind::Integer { min: 1, max: 100 },
        doc: "Of a hundred calls to servers that went well, so many are sent: 1, 2, 4, 5, 10, 20, \
            25, 50 or 100. Runs, failures, messages and measurements are always sent. Default 100.",
    },
];
