/* SPDX-License-Identifier: MIT */
/*
 * What --help and --version print.
 */
#include "daemon/help.h"

#include <stdio.h>

static const char usage[] =
	"Usage: cairnd [options]\n"
	"Opens disk images as block nodes, serves them, and works on them while they are in use\n"
	"\n"
	"Options take effect one after the other, from left to right. A value \"help\", as in\n"
	"--object help or --object secret,help, lists what is possible.\n"
	"\n"
	"  -h, --help             print this text and end\n"
	"  -V, --version          print the version and end\n"
	"\n"
	"  --blockdev [driver=]<driver>[,node-name=<name>][,discard=ignore|unmap]\n"
	"             [,cache.direct=on|off][,cache.no-flush=on|off]\n"
	"             [,read-only=on|off][,auto-read-only=on|off]\n"
	"             [,force-share=on|off][,detect-zeroes=on|off|unmap]\n"
	"             [,<options of the driver>...]\n"
	"                         open a block node; also as a JSON object\n"
	"\n"
	"  --chardev socket,id=<id>,path=<path>[,abstract=on|off][,tight=on|off]\n"
	"            [,server=on|off][,wait=on|off]\n"
	"  --chardev socket,id=<id>,host=<host>,port=<port>[,to=<port>]\n"
	"            [,ipv4=on|off][,ipv6=on|off][,server=on|off][,wait=on|off]\n"
	"  --chardev socket,id=<id>,fd=<number or name>[,server=on|off][,wait=on|off]\n"
	"  --chardev stdio,id=<id>[,signal=on|off]\n"
	"                         make a character device for a monitor\n"
	"\n"
	"  --daemonize            go to the background; the parent process ends with 0\n"
	"                         when clients may connect, and with 1 after a failure\n"
	"\n"
	"  --export [type=]nbd,id=<id>,node-name=<node>[,name=<name of the export>]\n"
	"           [,writable=on|off][,description=<text>][,iothread=<id>]\n"
	"                         export a node over NBD (after --nbd-server)\n"
	"\n"
	"  --log-level error|warning|info|debug\n"
	"                         what is written to standard error (default: warning)\n"
	"\n"
	"  --monitor [chardev=]<id>[,mode=control][,pretty=on|off]\n"
	"                         speak QMP on a character device\n"
	"\n"
	"  --nbd-server addr.type=inet,addr.host=<host>,addr.port=<port>[,<options>]\n"
	"  --nbd-server addr.type=unix,addr.path=<path>[,<options>]\n"
	"  --nbd-server addr.type=fd,addr.str=<number or name>[,<options>]\n"
	"                         options: max-connections=<n>, handshake-max-seconds=<n>,\n"
	"                         tls-creds=<id>, tls-authz=<id>\n"
	"                         start the NBD server\n"
	"\n"
	"  --object [qom-type=]authz-list,id=<id>[,policy=allow|deny]\n"
	"           [,rules.<n>.match=<name>,rules.<n>.policy=allow|deny...]\n"
	"  --object [qom-type=]authz-simple,id=<id>,identity=<name>\n"
	"  --object [qom-type=]iothread,id=<id>[,poll-max-ns=<ns>]\n"
	"  --object [qom-type=]secret,id=<id>,file=<path>[,format=raw|base64]\n"
	"  --object [qom-type=]throttle-group,id=<id>[,limits.<limit>=<number>...]\n"
	"  --object [qom-type=]tls-creds-psk,id=<id>,dir=<folder>\n"
	"           [,endpoint=client|server][,username=<name>]\n"
	"  --object [qom-type=]tls-creds-x509,id=<id>,dir=<folder>\n"
	"           [,endpoint=client|server][,verify-peer=on|off]\n"
	"                         make an object that nodes, exports or the NBD server\n"
	"                         refer to\n"
	"\n"
	"  --pidfile <path>       write the process ID to a file when clients may connect;\n"
	"                         removed at the end\n"
	"\n"
	"  -T, --trace <pattern>  accepted without effect\n"
	"\n"
	"The manual page cairnd(1) tells more.\n";

void help_print(void)
{
	fputs(usage, stdout);
}

void version_print(void)
{
	fputs("cairnd version " CAIRN_VERSION "\n"
	      "A storage daemon with the interface of qemu-storage-daemon; MIT licence\n", stdout);
}
