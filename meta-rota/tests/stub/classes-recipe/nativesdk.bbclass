CLASSOVERRIDE = "class-nativesdk"
python () {
    d.setVar("PN", "nativesdk-" + d.getVar("BPN"))
}
