package main

import (
	"fmt"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// nginxConf is the part of nginx's stock configuration that the server here reads.
const nginxConf = `user  nginx;
worker_processes  auto;

error_log  /var/log/nginx/error.log notice;
pid        /run/nginx.pid;

events {
    worker_connections  1024;
}

http {
    include       /etc/nginx/mime.types;
    default_type  application/octet-stream;

    log_format  main  '$remote_addr - $remote_user [$time_local] "$request" '
                      '$status $body_bytes_sent "$http_referer" '
                      '"$http_user_agent" "$http_x_forwarded_for"';

    access_log  /var/log/nginx/access.log  main;

    sendfile        on;
    #tcp_nopush     on;

    keepalive_timeout  65;

    include /etc/nginx/conf.d/*.conf;
}
`

const nginxSite = `server {
    listen       80;
    server_name  localhost;

    location / {
        root   /usr/share/nginx/html;
        index  index.html index.htm;
    }

    error_page   500 502 503 504  /50x.html;
    location = /50x.html {
        root   /usr/share/nginx/html;
    }
}
`

const nginxTypes = `types {
    text/html                             html htm shtml;
    text/css                              css;
    text/plain                            txt;
    text/xml                              xml;
    application/javascript                js;
    application/json                      json;
    application/wasm                      wasm;
    image/gif                             gif;
    image/jpeg                            jpeg jpg;
    image/png                             png;
    image/svg+xml                         svg svgz;
    image/x-icon                          ico;
    font/woff2                            woff2;
}
`

// nginxEntrypoint runs what an image made from this one put into /docker-entrypoint.d, then the server.
const nginxEntrypoint = `#!/bin/sh
# Before the server starts, scripts in /docker-entrypoint.d are run in the order of their names.
set -e
if [ "$1" = nginx ]; then
	for script in /docker-entrypoint.d/*.sh; do
		if [ -x "$script" ]; then
			echo "$0: Launching $script"
			"$script"
		fi
	done
fi
exec "$@"
`

// nginxPage is the first page; the two versions differ in it so that an update is seen in a browser.
func nginxPage(short string) string {
	colour := map[string]string{"1.28": "#1a6e3c", "1.29": "#1a4f8a"}[short]
	return fmt.Sprintf(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Welcome to nginx!</title>
<style>html { color-scheme: light dark } body { width: 35em; margin: 2em auto; font-family: sans-serif; border-top: .6em solid %s; padding-top: 1em }</style>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>This is version %s, served from a container in your lab.</p>
<p>A substitute for learning: compatible with nginx, not made by its authors.</p>
</body>
</html>
`, colour, short)
}

const nginxError = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Error</title></head>
<body><h1>An error occurred.</h1><p>The page you asked for is not available at the moment.</p></body>
</html>
`

// nginx is a version of the web server; /var/log/nginx leads to the container's log as in the image everybody knows.
func (p programs) nginx(short, version string, names ...string) recipe {
	passwd := "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnginx:x:101:101:nginx user:/nonexistent:/bin/false\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	files := append(p.debian(),
		text("etc/passwd", passwd), text("etc/group", "root:x:0:\nwww-data:x:33:\nnginx:x:101:\nusers:x:100:\nnogroup:x:65534:\n"),
		text("etc/nginx/nginx.conf", nginxConf), text("etc/nginx/mime.types", nginxTypes), text("etc/nginx/conf.d/default.conf", nginxSite),
		text("usr/share/nginx/html/index.html", nginxPage(short)), text("usr/share/nginx/html/50x.html", nginxError),
		program("docker-entrypoint.sh", []byte(nginxEntrypoint)), dir("docker-entrypoint.d", 0o755),
		image.File{Path: "var/log/nginx/access.log", Symlink: "/dev/stdout"}, image.File{Path: "var/log/nginx/error.log", Symlink: "/dev/stderr"},
		image.File{Path: "var/cache/nginx", Dir: true, Mode: 0o755, UID: 101},
		text("etc/os-release", osRelease("Drydock substitute for nginx "+short+" (WebAssembly)", "debian", "12")),
	)
	server := []image.File{program("usr/sbin/nginx", p.wasm["httpd"])}
	env := []string{searchPath, "NGINX_VERSION=" + version, "PKG_RELEASE=1~drydock"}
	return recipe{needs: []string{"coreutils", "shell", "httpd"}, Recipe: image.Recipe{Names: names, Created: released,
		Config: image.Config{Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"}, Env: env, ExposedPorts: []string{"80/tcp"},
			StopSignal: "SIGQUIT", Labels: labels("nginx", version)},
		Layers: [][]image.File{p.base(), server, files}, Comment: strings.TrimSpace("nginx " + version)}}
}
