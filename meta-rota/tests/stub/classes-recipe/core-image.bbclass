LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CORE_IMAGE_EXTRA_INSTALL ?= ""
IMAGE_CMD:ext4 = ":"
IMAGE_CMD:wic = "echo ${WKS_FULL_PATH}"
WKS_FULL_PATH = "${@bb.utils.which(d.getVar('WKS_SEARCH_PATH') or '', (d.getVar('WKS_FILES') or '').split()[0])}"
do_rootfs() {
	${ROOTFS_POSTPROCESS_COMMAND}
}
addtask rootfs after do_install before do_build
python () {
    for kind in d.getVar("IMAGE_FSTYPES").split():
        kind = kind.split(".")[0]
        task = "do_image_" + kind
        d.setVar(task, d.getVar("IMAGE_CMD:" + kind, False))
        d.setVarFlags(task, {"func": "1", "fakeroot": "1"})
        bb.build.addtask(task, "do_build", "do_rootfs", d)
}
