# SPDX-License-Identifier: MIT
src += hw/9p/fsdev.c hw/9p/msg.c hw/9p/node.c hw/9p/fid.c hw/9p/attr.c hw/9p/xattr.c
src += hw/9p/ops_path.c hw/9p/ops_file.c hw/9p/server.c hw/9p/virtio_9p.c
