// Faye, long polls; POST /pub?id=ROOM publishes.
const http = require("node:http");
const { NodeAdapter } = require("faye");

const bayeux = new NodeAdapter({ mount: "/bayeux", timeout: 45 });
const server = http.createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (request.method !== "POST" || pathname !== "/pub") {
    response.writeHead(404).end();
    return;
  }
  let text = "";
  request.setEncoding("utf8");
  request.on("data", (part) => (text += part));
  request.on("end", () => {
    bayeux.getClient().publish(`/${searchParams.get("id")}`, text);
    response.writeHead(200, { "Content-Length": 1 }).end("1");
  });
});
server.keepAliveTimeout = 600000;
server.requestTimeout = 0;
bayeux.attach(server);
server.listen(0, "127.0.0.1", 4096, () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
