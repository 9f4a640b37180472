/* SPDX-License-Identifier: MIT */
/*
 * The thread in which monitors whose clients negotiated `oob` are read, so that what they send out of band is
 * answered while a command's handler holds up the main thread.
 *
 * A monitor that has moved there, its session and its chardev are guarded by the thread's lock instead of the
 * machine's. Who holds the machine lock may wait for this one, never the other way round.
 */
#ifndef MONITOR_QMP_OOB_H
#define MONITOR_QMP_OOB_H

#include "monitor/monitor-priv.h"

/* Into the thread, which is started when there is none; without one (no more threads to be had) it stays. Main thread. */
void oob_move(Monitor *m);
/* All back to the main thread, the thread's end. */
void oob_end(Monitors *set);

/* Around what the main thread does with a monitor that may have moved. Not recursive. */
void oob_enter(Monitor *m);
void oob_leave(Monitor *m);

#endif
