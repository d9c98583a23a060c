SUMMARY = "What every A/B image holds: the client, its configuration, and the growing data partition"

inherit packagegroup

RDEPENDS:${PN} = "rota virtual-rota-conf rota-grow-data"
