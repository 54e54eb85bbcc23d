// Socket.IO, long polls only: a page joins the room that its handshake names; POST /pub?id=ROOM publishes.
const http = require("node:http");
const { Server } = require("socket.io");

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
    io.to(searchParams.get("id")).emit("m", text);
    response.writeHead(200, { "Content-Length": 1 }).end("1");
  });
});
server.keepAliveTimeout = 600000;
server.requestTimeout = 0;

// No pings within a run: they are the transport's, not a message's.
const io = new Server(server, { transports: ["polling"], pingInterval: 3600000, httpCompression: false });
io.on("connection", (socket) => socket.join(socket.handshake.query.room));
server.listen(0, "127.0.0.1", 4096, () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
