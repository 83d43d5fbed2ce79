-- A SQLite file as version 0.2.0 of before 2026-11-29 made it, without alembic.
PRAGMA application_id = 0x6C61756E;
PRAGMA user_version = 1;
CREATE TABLE compute_nodes (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    host VARCHAR(255) NOT NULL,
    hypervisor_hostname VARCHAR(255) NOT NULL,
    vcpus INTEGER NOT NULL,
    vcpus_used DOUBLE NOT NULL,
    memory_mb INTEGER NOT NULL,
    memory_mb_used INTEGER NOT NULL,
    local_gb INTEGER NOT NULL,
    local_gb_used INTEGER NOT NULL,
    free_ram_mb INTEGER NOT NULL,
    free_disk_gb INTEGER NOT NULL,
    load_1m DOUBLE NOT NULL,
    load_5m DOUBLE NOT NULL,
    load_15m DOUBLE NOT NULL,
    uptime_seconds INTEGER NOT NULL,
    cpu_info JSON NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME,
    CONSTRAINT uniq_compute_nodes_host_hypervisor UNIQUE (host, hypervisor_hostname)
);
INSERT INTO "compute_nodes" VALUES(1,'h','h.example',8,1.5,16384,4096,100,40,12288,60,1.5,0.1,1.0e-05,86400,'{"model": "Gr\u00f6\u00dfe \u2713", "features": ["avx", "sse"], "topology": {"cores": 4}}','2026-11-29 10:40:35.981398','2026-11-29 10:40:35.981398');
CREATE TABLE services (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    host VARCHAR(255) NOT NULL,
    binary VARCHAR(255) NOT NULL,
    topic VARCHAR(255) NOT NULL,
    version VARCHAR(64) NOT NULL,
    report_count INTEGER NOT NULL,
    last_seen_up DATETIME,
    state VARCHAR(16) NOT NULL,
    workers INTEGER NOT NULL,
    workers_serving INTEGER NOT NULL,
    disabled BOOLEAN NOT NULL,
    disabled_reason VARCHAR(255),
    created_at DATETIME NOT NULL,
    updated_at DATETIME,
    CONSTRAINT uniq_services_host_binary UNIQUE (host, binary)
);
INSERT INTO "services" VALUES(1,'node-1','compute-launcher','compute','0.1.0',0,NULL,'down',1,0,1,'disks','2026-11-29 10:40:35.973216','2026-11-29 10:40:35.976047');
