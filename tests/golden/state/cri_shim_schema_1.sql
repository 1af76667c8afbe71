BEGIN TRANSACTION;
CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        document TEXT NOT NULL,
        config BLOB NOT NULL,
        UNIQUE (sandbox_id, name)
    ) WITHOUT ROWID;
INSERT INTO "containers" VALUES('253d53753cdb5b7f0dc46861310da9f80a259d40b34ed4b7ce69b734aa0e355b','aaf9cc3fecf159bbb677cddbec5e3a1f387baa97c3e6bc72a0288ce7b24174f3','c_0','running','{"created_at": 1795609125670685386, "image_name": "example.org/busybox:1", "handler": "default", "started_at": 1795609125732362453, "finished_at": 0, "exit_code": 0, "reason": "", "message": "", "pid": 18746, "pid_start": 297442, "conmon_pid": 18736, "conmon_start": 297439, "cgroup": "/kubepods/253d53753cdb5b7f0dc46861310da9f80a259d40b34ed4b7ce69b734aa0e355b", "log_path": "", "stop_signal": "SIGTERM", "image_mounts": [], "boot": "ed0d970c-cbc2-400b-a0f6-9f50f8ee6b7c", "stopping_since": 0, "oom_kills": 0, "image_id": "sha256:5c4693d8ed7a2cb84fe97430da1f823e217b91a9d1450be339746546c9b32831", "user": [0, 0, [0]], "resources": "", "mount_images": []}',X'0A030A016312170A156578616D706C652E6F72672F62757379626F783A311A0A2F62696E2F736C6565701A04313030307A0612041A021001');
CREATE TABLE documents (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
INSERT INTO "documents" VALUES('image','sha256:5c4693d8ed7a2cb84fe97430da1f823e217b91a9d1450be339746546c9b32831','{"id": "sha256:5c4693d8ed7a2cb84fe97430da1f823e217b91a9d1450be339746546c9b32831", "tags": ["example.org/busybox:1"], "digests": ["example.org/busybox@sha256:2c52084f28b851d0bb6bf09a4b47fc073264d52a147ffac01b49d3005ca2052e"], "size": 1982363, "layers": ["sha256:c0ae3514154c4c94aa6a5fb8ff1b2ac6d5d7ce7214a4560ab63fbd262d6b7ade"], "manifest": "sha256:2c52084f28b851d0bb6bf09a4b47fc073264d52a147ffac01b49d3005ca2052e", "pinned": false, "config": {"entrypoint": [], "cmd": ["/bin/sh"], "env": ["PATH=/bin"], "working_dir": "", "user": "", "stop_signal": "", "volumes": [], "labels": {}}, "annotations": {}, "manifest_type": "application/vnd.oci.image.manifest.v1+json", "blobs": {"sha256:2c52084f28b851d0bb6bf09a4b47fc073264d52a147ffac01b49d3005ca2052e": 422, "sha256:5c4693d8ed7a2cb84fe97430da1f823e217b91a9d1450be339746546c9b32831": 213, "sha256:38b725c6cc1fc193d5a7943f390f276fb01a0266b3bc5d479f9aff9aadc7b449": 1036069}}');
INSERT INTO "documents" VALUES('layer','sha256:c0ae3514154c4c94aa6a5fb8ff1b2ac6d5d7ce7214a4560ab63fbd262d6b7ade','{"chain": "sha256:c0ae3514154c4c94aa6a5fb8ff1b2ac6d5d7ce7214a4560ab63fbd262d6b7ade", "diff": "sha256:c0ae3514154c4c94aa6a5fb8ff1b2ac6d5d7ce7214a4560ab63fbd262d6b7ade", "folder": "1", "size": 1982363, "inodes": 15, "blob": {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:38b725c6cc1fc193d5a7943f390f276fb01a0266b3bc5d479f9aff9aadc7b449", "size": 1036069}, "opaque": false}');
INSERT INTO "documents" VALUES('lease','aaf9cc3fecf159bbb677cddbec5e3a1f387baa97c3e6bc72a0288ce7b24174f3','{"pod": "test/pod-0", "link": "bvaaf9cc3fecf1", "addresses": ["10.77.0.2"], "ports": [], "subnets": ["10.77.0.0/24"]}');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('boot','ed0d970c-cbc2-400b-a0f6-9f50f8ee6b7c');
CREATE TABLE sandboxes (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        document TEXT NOT NULL,
        config BLOB NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "sandboxes" VALUES('aaf9cc3fecf159bbb677cddbec5e3a1f387baa97c3e6bc72a0288ce7b24174f3','pod-0_test_uid-pod-0_0','ready','{"created_at": 1795609125659626390, "handler": "default", "cgroup": "/kubepods", "ips": ["10.77.0.2"], "network": {"implementation": "bridge", "link": "bvaaf9cc3fecf1", "ips": ["10.77.0.2"]}, "netns": "/run/berth/cri/pods/aaf9cc3fecf159bbb677cddbec5e3a1f387baa97c3e6bc72a0288ce7b24174f3/ns/net", "pid": 0, "pid_start": 0, "boot": "ed0d970c-cbc2-400b-a0f6-9f50f8ee6b7c", "cgroup_made": true, "admitted": false, "stopping_since": 0, "selinux_level": "", "resources": "", "overhead": "", "requested_handler": ""}',X'0A180A05706F642D3012097569642D706F642D301A047465737442190A112F62657274682D746573742D313832343212040A021001');
COMMIT;PRAGMA user_version = 1;
