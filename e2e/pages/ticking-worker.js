// Tells each tick to whoever listens: {page: the query string, tick: 1, 2, …}.
const channel = new BroadcastChannel("ticks");
const page = self.location.search;
let tick = 0;
setInterval(() => channel.postMessage({ page, tick: ++tick }), 50);
postMessage("ready");
