# SPDX-License-Identifier: MIT
# util, chardev, cmd
tests += unit/test_err unit/test_log unit/test_opts
tests += unit/test_chardev unit/test_chardev_sockets unit/test_chardev_term unit/test_term
tests += unit/test_config
tests += unit/test_socket unit/test_nbd unit/test_nbd_peers
# block/crypto, and what stands on the qcow2 core
tests += unit/test_crypt unit/test_luks
tests += unit/test_qcow2_snapshot unit/test_qcow2_check unit/test_qcow2_bitmap unit/test_qcow2_amend

tests += unit/test_bitmap
tests += unit/test_run unit/test_arena unit/test_iov unit/test_loop unit/test_co unit/test_aio unit/test_block_file
tests += unit/test_formats
tests += unit/test_block_io
tests += unit/test_block_graph
tests += unit/test_copy
tests += unit/test_block_filters
tests += unit/test_block_options unit/test_objects
tests += unit/test_jobs unit/test_jobs_faults
tests += unit/test_qcow2 unit/test_qcow2_more
tests += unit/test_drives
tests += unit/test_state
tests += unit/test_gdb
tests += unit/test_edit
tests += unit/test_events
