module chatting

go 1.26.8
