// A server of node's http: PORT, a large file, a text to compress.
'use strict'
const crypto = require('crypto'), fs = require('fs'), http = require('http'), zlib = require('zlib')
const [port, large, text] = process.argv.slice(2)
const content = fs.readFileSync(large), compressed = zlib.gzipSync(fs.readFileSync(text))

const answers = {
  '/small': (_, response) => response.writeHead(200, { 'content-length': 6 }).end('hello\n'),
  '/large': (_, response) => response.end(content),
  '/moved': (_, response) => response.writeHead(302, { location: '/small' }).end(),
  '/together': (_, response) => response.end(),
  '/gzip': (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(compressed),
  '/cookies': (request, response) => response.end(request.headers.cookie),
  '/echo': (request, response) => {
    const pieces = []
    request.on('data', (piece) => pieces.push(piece))
    request.on('end', () => {
      const body = Buffer.concat(pieces)
      const digest = crypto.createHash('sha256').update(body).digest('hex').slice(0, 8)
      const framing = request.headers['content-length'] ? 'length' : 'chunked'
      response.end(`${request.method} ${framing} ${body.length} ${digest}`)
    })
  },
  '/trailers': (_, response) => {
    response.writeHead(200, { trailer: 'X-Sum' })
    response.write('body')
    response.addTrailers({ 'X-Sum': '7' })
    response.end()
  },
  '/early': (_, response) => response.writeEarlyHints({ link: '</style.css>; rel=preload' }, () => response.end('page')),
  '/endless': (_, response) => {
    const timer = setInterval(() => response.write(Buffer.alloc(16384)), 2)
    response.on('close', () => clearInterval(timer))
  }
}

http.createServer((request, response) => {
  const answer = answers[request.url.split('?')[0]]
  if (answer) answer(request, response)
  else response.writeHead(404).end('none\n')
}).listen(Number(port), '127.0.0.1')
