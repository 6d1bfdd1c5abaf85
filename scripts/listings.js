// Reads lines of listings (a JSON array on standard input) by parsers of other projects; see scripts/listings.sh.
const path = require("path");
const modules = path.join(process.env.PARSERS, "node_modules");
const basic = require(path.join(modules, "basic-ftp/dist/parseList.js"));
const ftp = require(path.join(modules, "ftp/lib/parser.js"));

const lines = JSON.parse(require("fs").readFileSync(0, "utf8"));
const kinds = { 1: "file", 2: "folder", 3: "link" };

function byBasicFtp(line) {
    try {
        const [entry] = basic.parseList(line);
        if (!entry || !(entry.type in kinds)) return null;
        return { kind: kinds[entry.type], size: entry.size, name: entry.name };
    } catch {
        return null;
    }
}

function byFtp(line) {
    try {
        const entry = ftp.parseListEntry(line);
        if (!entry || typeof entry !== "object") return null;
        const kind = { d: "folder", l: "link", "-": "file" }[entry.type];
        return kind ? { kind, size: entry.size, name: entry.name } : null;
    } catch {
        return null;
    }
}

const told = lines.map((line) => ({ "basic-ftp": byBasicFtp(line), ftp: byFtp(line) }));
process.stdout.write(JSON.stringify(told));
