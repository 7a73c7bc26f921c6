# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The configuration of an nginx of a test's own."""

# {0}: a directory; the servers and a closing brace follow.
HEAD = """daemon off;
master_process off;
user root;
pid {0}/nginx.pid;
error_log {0}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {0}/body;
    proxy_temp_path {0}/proxy;
    fastcgi_temp_path {0}/fastcgi;
    uwsgi_temp_path {0}/uwsgi;
    scgi_temp_path {0}/scgi;
"""
