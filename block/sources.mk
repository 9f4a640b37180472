# SPDX-License-Identifier: MIT
# Files of the block layer join by `src +=` here, one line for each subject.
src += block_set.c
src += block/bitmap.c
src += block/crypto/aesni.c block/crypto/crypt.c block/crypto/kdf.c
src += block/crypto/luks.c block/crypto/luks_write.c block/crypto/crypt_io.c block/crypto/luks_driver.c
src += block/options.c block/names.c block/graph.c block/perm.c block/drain.c block/open.c block/child.c
src += block/create.c block/change.c block/reopen.c block/overlay.c
src += block/io.c block/ranges.c block/extent.c block/disk.c block/query.c
src += block/objects.c block/object_classes.c block/secret.c
src += block/raw.c
src += block/file.c block/file_create.c block/file_io.c block/file_lock.c
src += block/throttle.c block/filter/pass.c block/filter/null.c block/filter/throttle.c block/filter/cor.c
src += block/filter/blkdebug.c block/filter/blkdebug_rules.c block/filter/blkverify.c block/filter/blklog.c
src += block/filter/compress.c block/filter/preallocate.c
src += block/tls.c block/tls-check.c
src += block/nbd/negotiate.c block/nbd/conn.c block/nbd/nbd.c block/nbd/name.c
src += block/nbd/server.c block/nbd/shake.c block/nbd/serve.c block/nbd/status.c
src += block/curl/curl.c block/curl/web.c
# image formats of others
src += block/format.c block/vdi.c block/vpc.c
src += block/qcow1.c block/qed.c block/parallels.c block/vvfat.c block/dmg.c
src += block/vhdx/vhdx.c block/vhdx/log.c block/vhdx/create.c
src += block/vmdk/vmdk.c block/vmdk/desc.c block/vmdk/sparse.c block/vmdk/grain.c block/vmdk/io.c
src += block/vmdk/check.c block/vmdk/create.c
src += block/copy.c
src += block/job.c block/stream.c block/commit.c block/mirror.c block/backup.c block/create_job.c
src += block/cbw.c block/snapshot_access.c

# The drivers: made anew when a source changes, or the list of sources does.
block-sources = $(wildcard $(patsubst %,$(S)/%,$(filter block/%,$(src))))
$(B)/gen/block_set.c: $(wildcard $(S)/block/*.c $(S)/block/*/*.c) $(S)/tools/sets.py $(B)/objs.list
	$(call say,SETS,$(@F))
	@mkdir -p $(@D)
	$(Q)$(PYTHON) $(S)/tools/sets.py $@ BLOCK $(block-sources)
src += block/stats.c
src += block/activate.c
