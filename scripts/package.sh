#!/usr/bin/env bash
# Builds what is deployed: a portable binary, and a zip for Azure Functions with the right file modes.
#   scripts/package.sh [--target TRIPLE] [--config FILE] [--binary FILE] [--output FOLDER]
#     --target  x86_64-unknown-linux-musl (static; the default where rustup has it) or
#               x86_64-unknown-linux-gnu.2.28 (the default elsewhere: glibc 2.28 or newer)
#     --config  your ingest.toml; without one the example goes along as ingest.toml.example, and the app
#               says that it has no configuration
#     --binary  pack this binary, build none
#     --output  where to write; default: dist
# Needs Rust, Python 3 with venv, and readelf. cargo-zigbuild and zig come from PyPI into target/package-tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target='' config='' binary='' output=dist
while [ $# -gt 0 ]; do
    case $1 in
    --target) target=$2 ;;
    --config) config=$2 ;;
    --binary) binary=$2 ;;
    --output) output=$2 ;;
    *)
        sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done
if [ -n "$config" ] && [ ! -f "$config" ]; then
    echo "package.sh: there is no file $config" >&2
    exit 2
fi

if [ -z "$target" ]; then
    if rustup target list --installed 2>/dev/null | grep -qx x86_64-unknown-linux-musl; then
        target=x86_64-unknown-linux-musl
    else
        target=x86_64-unknown-linux-gnu.2.28
    fi
fi

if [ -z "$binary" ]; then
    scripts/build-portable.sh "$target"
    # A glibc version at the target's end is zig's alone; the folder is named without it.
    binary=${CARGO_TARGET_DIR:-target}/${target%.2.28}/release/blobferry
    portable=$(scripts/portable.sh "$binary")
    echo "binary: $target, $portable, $(stat -c %s "$binary") bytes"
fi

mkdir -p "$output"
archive=$output/blobferry-functions.zip
CONFIG=$config BINARY=$binary ARCHIVE=$archive python3 - <<'PACK'
import glob, json, os, time, tomllib, zipfile

# The root of a Functions app: what the host reads, and the binary that it starts. Azure unpacks the zip with
# the modes that stand in it, so the binary's executable bit must.
functions = sorted(name for name in os.listdir(".") if os.path.isfile(f"{name}/function.json"))
assert functions, "no function has a function.json"
executable = json.load(open("host.json"))["customHandler"]["description"]["defaultExecutablePath"]
config = os.environ["CONFIG"]
entries = [("host.json", "host.json", 0o644)]
entries += [(f"{name}/function.json", f"{name}/function.json", 0o644) for name in functions]
entries += [("ingest.toml", config, 0o644)] if config else [("ingest.toml.example", "ingest.toml", 0o644)]
if config:
    # The files that it includes keep their places beside it.
    folder = os.path.dirname(os.path.abspath(config))
    with open(config, "rb") as file:
        include = tomllib.loads(file.read().decode("utf-8-sig")).get("include", [])
    for pattern in [include] if isinstance(include, str) else include:
        found = glob.glob(pattern, root_dir=folder, recursive=True)
        paths = {name: os.path.join(folder, name) for name in found if not os.path.isabs(name) and ".." not in name}
        files = {os.path.normpath(name): path for name, path in paths.items() if os.path.isfile(path)}
        known = {entry[0] for entry in entries}
        own = os.path.abspath(config)
        entries += [(name, files[name], 0o644) for name in sorted(files) if name not in known and files[name] != own]
        assert files, f"`include` holds {pattern}, which names no file below {folder}"
entries += [(executable, os.environ["BINARY"], 0o755)]
moment = time.gmtime(max(int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")), 315532800))[:6]
partial = os.environ["ARCHIVE"] + ".part"
with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, path, mode in entries:
        info = zipfile.ZipInfo(name, moment)
        info.create_system = 3  # Unix: only then are the modes read
        info.external_attr = (0o100000 | mode) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        with open(path, "rb") as file:
            archive.writestr(info, file.read())
os.replace(partial, os.environ["ARCHIVE"])
PACK
echo "package: $archive"
