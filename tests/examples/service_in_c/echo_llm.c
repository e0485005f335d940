/* A language model that says what it heard: "You said: ..."
 *
 *   echo_llm HOST:PORT HOST:PORT      where to listen for the recogniser, and where the synthesizer listens
 *
 * Every call is a connection from the recogniser, and has one to the synthesizer. Both speak frames of one word n,
 * big-endian, and n bytes. The first frame is HELLO, whose bytes are the call's id; the others are text. A word from
 * CANCEL upwards stands alone: CANCEL takes back what was said since the last END, END completes it, BYE ends the call.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CANCEL 0xFFFFFFFDu
#define END 0xFFFFFFFEu
#define BYE 0xFFFFFFFFu
#define MAX_TEXT 4096
static const char SAY[] = "You said: ";

static struct sockaddr_in address(const char *text) {
    struct sockaddr_in found = {.sin_family = AF_INET};
    char host[64];
    unsigned port;
    if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &found.sin_addr) != 1) {
        fprintf(stderr, "%s is no HOST:PORT\n", text);
        exit(2);
    }
    found.sin_port = htons((uint16_t)port);
    return found;
}

static void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void without_delay(int connection) {
    int on = 1;
    must(setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "TCP_NODELAY");
}

static int receive(int from, void *into, size_t bytes) {
    return recv(from, into, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

/* The word and its bytes leave in one piece: two would wait for each other's acknowledgement. */
static void send_frame(int to, const char *text, size_t bytes) {
    char frame[4 + sizeof SAY + MAX_TEXT];
    uint32_t word = htonl((uint32_t)bytes);
    memcpy(frame, &word, 4);
    memcpy(frame + 4, text, bytes);
    must(write(to, frame, 4 + bytes) == (ssize_t)(4 + bytes), "synthesizer");
}

static void send_word(int to, uint32_t word) {
    word = htonl(word);
    must(write(to, &word, 4) == 4, "synthesizer");
}

static void serve(int recogniser, const struct sockaddr_in *synthesizer_at) {
    char reply[sizeof SAY + MAX_TEXT];
    const size_t nothing = sizeof SAY - 1;
    size_t bytes = nothing;
    int synthesizer = -1;
    uint32_t word;
    memcpy(reply, SAY, nothing);
    while (receive(recogniser, &word, 4) && (word = ntohl(word)) != BYE) {
        if (word == CANCEL) {
            bytes = nothing;
        } else if (word == END) {
            if (bytes > nothing) /* but for the space at its end */
                send_frame(synthesizer, reply, bytes - 1);
            send_word(synthesizer, END);
            bytes = nothing;
        } else if (bytes + 1 + word > sizeof reply || !receive(recogniser, reply + bytes, word)) {
            fprintf(stderr, "a frame of %u bytes is too long, or was cut off\n", word);
            exit(1);
        } else if (synthesizer < 0) { /* HELLO, which is passed on */
            synthesizer = socket(AF_INET, SOCK_STREAM, 0);
            must(connect(synthesizer, (const void *)synthesizer_at, sizeof *synthesizer_at) == 0, "synthesizer");
            without_delay(synthesizer);
            send_frame(synthesizer, reply + bytes, word);
        } else {
            bytes += word;
            reply[bytes++] = ' ';
        }
    }
    if (synthesizer >= 0)
        send_word(synthesizer, BYE);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: %s HOST:PORT HOST:PORT\n", arguments[0]);
        return 2;
    }
    struct sockaddr_in here = address(arguments[1]), synthesizer_at = address(arguments[2]);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(listener, (void *)&here, sizeof here) == 0 && listen(listener, 16) == 0, arguments[1]);
    signal(SIGCHLD, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("{\"ready\": \"llama\", \"engine\": \"echo\", \"version\": \"1\"}");
    for (;;) {
        int recogniser = accept(listener, NULL, NULL);
        if (recogniser < 0)
            continue;
        if (fork() == 0) { /* a process for each call */
            close(listener);
            without_delay(recogniser);
            serve(recogniser, &synthesizer_at);
            return 0;
        }
        close(recogniser);
    }
}
