# SPDX-License-Identifier: MIT
# Completion of cairnd's options for bash; put it into
# /usr/share/bash-completion/completions/cairnd or source it.

# Complete one word of a list "a=b,c=d": what stands before its last comma is kept.
_cairnd_words() {
	local cur=$1 done=
	shift
	[[ $cur == *,* ]] && done=${cur%,*},
	mapfile -t COMPREPLY < <(compgen -P "$done" -W "$*" -- "${cur##*,}")
	compopt -o nospace
}

_cairnd() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i chardevs= drivers=
	local words=("${COMP_WORDS[@]}")
	# bash splits at '='; glue "key=val" together again.
	cur=${COMP_LINE:0:COMP_POINT}
	cur=${cur##* }
	for ((i = COMP_CWORD; i > 0; i--)); do
		[[ ${words[i]} == --* ]] && { prev=${words[i]}; break; }
	done
	[[ $cur == -* ]] && prev=

	case $prev in
	--blockdev)
		drivers=$(cairn-img --help 2>/dev/null | sed -n 's/^Supported formats://p')
		drivers=${drivers// / driver=}
		_cairnd_words "$cur" "$drivers" node-name= \
			read-only={on,off} auto-read-only={on,off} force-share={on,off} \
			discard={ignore,unmap} detect-zeroes={off,on,unmap} cache.direct={on,off} \
			cache.no-flush={on,off} filename= file= file.driver={file,host_device} \
			file.filename= backing=
		;;
	--chardev)
		_cairnd_words "$cur" socket stdio id= path= host= port= fd= server={on,off} wait={on,off}
		;;
	--monitor)
		for ((i = 1; i < COMP_CWORD; i++)); do
			[[ ${words[i]} == *,id ]] && chardevs+=" chardev=${words[i + 2]%%,*}"
		done
		_cairnd_words "$cur" chardev= "$chardevs" mode=control pretty={on,off}
		;;
	--nbd-server)
		_cairnd_words "$cur" addr.type={unix,inet,fd} addr.path= addr.host= addr.port= addr.str= \
			max-connections= handshake-max-seconds=
		;;
	--export)
		_cairnd_words "$cur" type=nbd id= node-name= name= description= writable={on,off} \
			iothread= fixed-iothread={on,off}
		;;
	--pidfile)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	--log-level)
		mapfile -t COMPREPLY < <(compgen -W 'error warning info debug' -- "$cur")
		;;
	*)
		mapfile -t COMPREPLY < <(compgen -W '--blockdev --chardev --daemonize --export --help
			--log-level --monitor --nbd-server --object --pidfile --version' -- "$cur")
		;;
	esac
	# readline replaces only what follows the last '=': give it no more than that.
	if [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]]; then
		local before=${cur%"${cur##*=}"}
		COMPREPLY=("${COMPREPLY[@]#"$before"}")
	fi
}

complete -F _cairnd cairnd
