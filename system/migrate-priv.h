/* SPDX-License-Identifier: MIT */
/* Between migrate.c, what is sent, and migrate_uri.c, by which way. */
#ifndef SYSTEM_MIGRATE_PRIV_H
#define SYSTEM_MIGRATE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "system/state-priv.h"
#include "util/yank.h"

struct Migration {
    Vm *vm;
    MigrateParams params;
    void (*fn)(void *opaque, MigrateStatus status, uint64_t pass); void *fn_opaque;
    _Atomic MigrateStatus status;       /* changed in the main thread */
    bool incoming, awaited, start;
    char *uri, *error;
    pthread_t thread; bool threaded;
    _Atomic bool cancel, gone;          /* gone: the main thread does nothing any more */
    Err *result;                        /* the thread's, until it was joined */
    GByteArray *config;
    /* the way */
    Yank yank;
    int fd, listener; bool shared /* fd is a standard stream or a socket: no file */;
    int child;                          /* exec: its process; 0: none */
    /* handed from the main thread to ours, under lock */
    pthread_mutex_t lock; pthread_cond_t cond;
    bool handed; GByteArray *blob; Err *handed_error;
    bool ran, answers; RunState before;          /* the pause: what the machine was until then */
    /* how it goes; written by our thread, read by any */
    _Atomic int64_t began, paused, total_ms, setup_ms, downtime_ms, expected_ms;
    _Atomic uint64_t pages, zero_pages, late /* bytes of the pause */, passes, sent, left, rate /* bytes a second */, dirty_rate;
    int64_t due;                        /* us: when what was sent may have been, by the limit */
};

MUST_USE Err *migration_check_uri(const char *uri);
MUST_USE Err *migration_listen(Migration *m);           /* main thread: what can be said at once */
/* Our thread; they end early when it is cancelled. */
MUST_USE Err *migration_open_out(Migration *m);
MUST_USE Err *migration_open_in(Migration *m);
MUST_USE Err *migration_write(Migration *m, const void *data, size_t len);
MUST_USE Err *migration_read(Migration *m, void *data, size_t len);
MUST_USE Err *migration_close_out(Migration *m);        /* all was written: exec's command has to agree */
void migration_close(Migration *m);

#endif
