do_deploy() {
	:
}
