// Uploads a file by tus-js-client, as a program would that knows nothing of the server but the protocol.
const fs = require("fs");
const tus = require("tus-js-client");

const [endpoint, host, key, file] = process.argv.slice(2);
const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint,
  headers: { "X-API-Key": key, Host: host },
  retryDelays: Array(50).fill(100),
  uploadSize: fs.statSync(file).size,
  metadata: { filename: "large.bmp", filetype: "image/bmp" },
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => console.log(upload.url),
});
upload.start();
