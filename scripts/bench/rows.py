"""What is measured, and what is aimed at: each row is a data set, a way to reach it, its contestants and its targets."""


class Row:
    """`data` names a data set; `proto` is sftp, ftp, ftps or local; `rtt` is in milliseconds, `store_rtt` is that of
    the store; `settings` are extra lines of the product's source and limits; a target is (measure, most, of whom): `best` is the best contestant that arrived whole. A row with
    a `curve` is a point of that growth curve, with `at` on its axis (None: its number of files), and gets no table of its own."""

    def __init__(self, name, title, small, full, proto, contestants, targets, rtt=0, limits="", source="", again=False, most_mib=None, curve=None, at=None, store_rtt=0):
        self.name, self.title, self.small, self.full, self.proto = name, title, small, full, proto
        self.contestants, self.targets, self.rtt, self.limits, self.source = contestants, targets, rtt, limits, source
        self.again, self.most_mib, self.curve, self.at, self.store_rtt = again, most_mib, curve, at, store_rtt


COPY = ("rclone", "rclone-16", "lftp+azcopy")
FAR = ("rclone", "rclone-16", "rclone-32")  # rclone by itself has 4 transfers
UNZIP = ("rclone+unzip+rclone", "rclone-archive", "lftp+unzip+azcopy")
UNPACK = ("unzip", "unzip+sync", "bsdtar", "python-zipfile")

ROWS = [
    Row("sftp-small", "2,000 × 20 KiB by SFTP", "plain-200-20k", "plain-2000-20k", "sftp", COPY,
        [("wall", 0.4, "best"), ("cpu", 0.35, "rclone")], most_mib=64),
    Row("ftp-small", "2,000 × 20 KiB by FTP", "plain-200-20k", "plain-2000-20k", "ftp", COPY,
        [("wall", 0.7, "best"), ("wall", 0.15, "rclone"), ("cpu", 0.4, "rclone")], most_mib=64),
    Row("sftp-large", "4 × 256 MiB by SFTP", "plain-4-64m", "plain-4-256m", "sftp", COPY,
        [("wall", 0.8, "best"), ("cpu", 0.6, "rclone")], most_mib=96),
    Row("ftp-large", "4 × 256 MiB by FTP", "plain-4-64m", "plain-4-256m", "ftp", COPY,
        [("wall", 0.9, "best"), ("cpu", 1.0, "best")], most_mib=96),
    Row("ftps-large", "4 × 256 MiB by FTPS (explicit TLS)", "plain-4-64m", "plain-4-256m", "ftps", COPY,
        [("wall", 0.9, "best"), ("cpu", 1.0, "best")], most_mib=96),
    Row("sftp-zips-stored", "40 zips with one stored member of 5 MiB by SFTP", "stored-10-5m", "stored-40-5m", "sftp", UNZIP,
        [("wall", 0.45, "best"), ("cpu", 0.5, "best")], most_mib=192),
    Row("sftp-zips-deflated", "4 zips with 500 deflated members of 10 KiB by SFTP", "deflated-4-125-10k", "deflated-4-500-10k", "sftp", UNZIP,
        [("wall", 0.45, "best"), ("cpu", 0.5, "best")], most_mib=192),
    Row("sftp-20ms", "400 × 50 KiB by SFTP over one connection, 20 ms away", "plain-100-50k", "plain-400-50k", "sftp", ("rclone", "rclone-32", "lftp+azcopy"),
        [("wall", 0.15, "rclone"), ("wall", 0.3, "rclone-32")], rtt=20, source="connections = 1"),
    Row("sftp-100ms", "400 × 50 KiB by SFTP over one connection, 100 ms away", "plain-100-50k", "plain-400-50k", "sftp", ("rclone", "rclone-32", "lftp+azcopy"),
        [("wall", 0.15, "rclone"), ("wall", 0.3, "rclone-32")], rtt=100, source="connections = 1"),
    Row("ftp-20ms", "400 × 50 KiB by FTP over four connections (rclone-32: as many as it likes), 20 ms away", "plain-100-50k", "plain-400-50k", "ftp", ("rclone", "rclone-32", "lftp-4+azcopy"),
        [("wall", 0.5, "rclone"), ("wall", 0.5, "lftp-4+azcopy")], rtt=20, source="connections = 4"),
    Row("ftp-100ms", "400 × 50 KiB by FTP over four connections (rclone-32: as many as it likes), 100 ms away", "plain-100-50k", "plain-400-50k", "ftp", ("rclone", "rclone-32", "lftp-4+azcopy"),
        [("wall", 0.5, "rclone"), ("wall", 0.5, "lftp-4+azcopy")], rtt=100, source="connections = 4"),
    Row("sftp-large-100ms", "One file of 256 MiB by SFTP, 100 ms away", "plain-1-32m", "plain-1-256m", "sftp", ("rclone", "sftp-download"),
        [("wall", 0.3, "rclone"), ("wall", 0.3, "sftp-download")], rtt=100, most_mib=96),
    Row("sftp-again", "A second run over 2,000 unchanged files by SFTP", "plain-200-20k", "plain-2000-20k", "sftp", ("rclone", "rclone-16"),
        [("wall", 0.5, "rclone"), ("cpu", 0.3, "rclone")], again=True, most_mib=64),
    Row("archives-one-large", "Unpack: one deflated member of 512 MiB", "deflated-1-1-64m", "deflated-1-1-512m", "local", UNPACK, [("wall", 0.5, "unzip"), ("wall", 0.5, "unzip+sync")]),
    Row("archives-many-small", "Unpack: 5,000 deflated members of 10 KiB", "deflated-1-500-10k", "deflated-1-5000-10k", "local", UNPACK, [("wall", 0.5, "unzip"), ("wall", 0.5, "unzip+sync")]),
    Row("archives-stored", "Unpack: 40 zips with one stored member of 5 MiB", "stored-10-5m", "stored-40-5m", "local", UNPACK, [("wall", 0.5, "unzip"), ("wall", 0.5, "unzip+sync")]),
]

# The store is far away: 25 ms is another region, 60 and 100 ms another continent.
ROWS += [
    Row("far-store-ftp", "2,000 × 20 KiB by FTP over four connections, the store 25 ms away", "plain-200-20k", "plain-2000-20k", "ftp", (*FAR, "lftp-4+azcopy"),
        [("wall", 0.2, "lftp-4+azcopy")], store_rtt=25, source="connections = 4", most_mib=64),
    *[Row(f"far-store-sftp-{rtt}ms", f"3,000 × 10 KiB by SFTP, the store {rtt} ms away", "plain-300-10k", "plain-3000-10k", "sftp", (*FAR, "lftp+azcopy"),
          [("wall", 0.15, "rclone-32")] if rtt == 25 else [], store_rtt=rtt, most_mib=64) for rtt in (5, 25, 60, 100)],
    Row("far-store-both", "400 × 50 KiB by SFTP over one connection, 20 ms away, the store 25 ms away", "plain-100-50k", "plain-400-50k", "sftp", (*FAR, "lftp+azcopy"),
        [("wall", 0.23, "rclone-32")], rtt=20, store_rtt=25, source="connections = 1", most_mib=64),
    Row("far-store-medium", "60 × 12 MiB by SFTP, the store 25 ms away", "plain-10-12m", "plain-60-12m", "sftp", FAR,
        [("wall", 0.8, "rclone-16")], store_rtt=25),
    Row("far-store-zip", "One zip with 2,000 deflated members of 10 KiB by SFTP, the store 25 ms away", "deflated-1-200-10k", "deflated-1-2000-10k", "sftp", ("rclone-archive",),
        [], store_rtt=25),
    Row("far-store-again", "A second run over 3,000 unchanged files by SFTP, the store 25 ms away", "plain-300-10k", "plain-3000-10k", "sftp", FAR, [], store_rtt=25, again=True),
]

# Very many small files: what a file costs by itself.
ROWS += [
    Row("local-tiny", "300,000 files of 100 bytes from a folder into a folder", "plain-3000-100b", "plain-300000-100b", "local", (), [], most_mib=200),
]

# How wall time grows. What stands for the connections of rclone is its transfers, each of which has one.
ROWS += [Row(f"growth-files-{count}", f"{count:,} × 20 KiB by SFTP, a point of the growth curve", f"plain-{count // 10}-20k", f"plain-{count}-20k", "sftp",
             ("rclone",), [], curve="files") for count in (100, 1000, 10000)]
ROWS += [Row(f"growth-connections-{count}", f"1,000 × 20 KiB by SFTP over {count} connections, 20 ms away, a point of the growth curve", "plain-50-20k", "plain-1000-20k", "sftp",
             (f"rclone-{count}",), [], rtt=20, source=f"connections = {count}", curve="connections", at=count) for count in (1, 2, 4, 8)]
