SUMMARY = "The client's configuration for this board and this product"
DESCRIPTION = "Written from variables. A product that wants its own file provides virtual-rota-conf by a recipe of its own."
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit rota-layout

RPROVIDES:${PN} = "virtual-rota-conf"

# Where the device finds its server; empty: artifacts are installed by hand.
ROTA_SERVER_URL ?= ""
# File: the CA of that server, pinned. Empty: the CA certificates of the image.
ROTA_SERVER_CA ?= ""
ROTA_TENANT_TOKEN ?= ""
# Files: public keys; with any, only artifacts signed by one of them are installed.
ROTA_VERIFY_KEYS ?= ""
ROTA_DEVICE_TYPE ?= "${MACHINE}"
# Durations such as 30m; empty: the client's default.
ROTA_POLL_INTERVAL ?= ""
ROTA_INVENTORY_INTERVAL ?= ""
ROTA_RETRY_INTERVAL ?= ""
# Further lines for rota.toml, \n between them, beginning with their [table].
ROTA_CONF_EXTRA ?= ""

do_configure[noexec] = "1"
do_compile[noexec] = "1"

def rota_toml(d):
    def text(value):
        return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')
    lines = ["# Made by the recipe rota-conf.", "device_type = " + text(d.getVar("ROTA_DEVICE_TYPE")), ""]
    conf = d.getVar("sysconfdir") + "/rota"
    server = {"url": d.getVar("ROTA_SERVER_URL"), "ca": d.getVar("ROTA_SERVER_CA") and conf + "/server-ca.pem",
              "tenant_token": d.getVar("ROTA_TENANT_TOKEN"), "poll_interval": d.getVar("ROTA_POLL_INTERVAL"),
              "inventory_interval": d.getVar("ROTA_INVENTORY_INTERVAL"), "retry_interval": d.getVar("ROTA_RETRY_INTERVAL")}
    if any(server.values()):
        lines += ["[server]"] + ["%s = %s" % (key, text(value)) for key, value in server.items() if value] + [""]
    keys = [os.path.basename(each) for each in d.getVar("ROTA_VERIFY_KEYS").split()]
    if keys:
        lines += ["[artifact]", "verify_keys = [%s]" % ", ".join(text(conf + "/keys/" + key) for key in keys), ""]
    lines.append(d.getVar("ROTA_CLIENT_CONF"))
    lines += d.getVar("ROTA_CONF_EXTRA").split("\\n")
    return "\n".join(lines).rstrip("\n") + "\n"

python do_install() {
    import shutil
    dest = d.getVar("D")
    conf = dest + d.getVar("sysconfdir") + "/rota"
    bb.utils.mkdirhier(os.path.join(conf, "keys"))
    with open(os.path.join(conf, "rota.toml"), "w", encoding="utf-8") as file:
        file.write(rota_toml(d))
    for source, name in [(d.getVar("ROTA_SERVER_CA"), "server-ca.pem")] + [
            (key, "keys/" + os.path.basename(key)) for key in d.getVar("ROTA_VERIFY_KEYS").split()]:
        if source:
            if not os.path.isfile(source):
                bb.fatal("rota-conf: there is no file %s (ROTA_SERVER_CA, ROTA_VERIFY_KEYS)" % source)
            shutil.copyfile(source, os.path.join(conf, name))
    # State lies on the data partition, which both slots share.
    state = d.getVar("ROTA_DATA_MOUNT") + "/rota"
    bb.utils.mkdirhier(dest + state)
    os.chmod(dest + state, 0o700)
    link = os.path.join(dest + d.getVar("localstatedir"), "lib", "rota")
    bb.utils.mkdirhier(os.path.dirname(link))
    os.symlink(state, link)
}
do_install[file-checksums] += "${@' '.join(each + ':True' for each in (d.getVar('ROTA_SERVER_CA') + ' ' + d.getVar('ROTA_VERIFY_KEYS')).split())}"
do_install[vardeps] += "rota_toml"
do_install[fakeroot] = "1"
do_install[depends] += "virtual/fakeroot-native:do_populate_sysroot"

FILES:${PN} += "${ROTA_DATA_MOUNT}"
CONFFILES:${PN} = "${sysconfdir}/rota/rota.toml"
